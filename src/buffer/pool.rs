//! Receive buffers to be used again.

use std::sync::{Arc, Mutex};

/// Receive buffers that come back when the last share of them is dropped, on whatever thread.
#[derive(Clone)]
pub(super) struct Pool {
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    capacity: usize,
}

/// Spare buffers kept; more are given back to the allocator.
const SPARE_BUFFERS: usize = 4;

impl Pool {
    pub(super) fn new(capacity: usize) -> Pool {
        Pool {
            spare: Arc::default(),
            capacity,
        }
    }

    pub(super) fn get(&self) -> Vec<u8> {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        let mut bytes = spare.unwrap_or_else(|| vec![0; self.capacity]);
        bytes.resize(self.capacity, 0);
        bytes
    }
}

/// A receive buffer that is shared, to be given back.
pub(super) struct Pooled {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pooled {
    pub(super) fn new(bytes: Vec<u8>, pool: Pool) -> Pooled {
        Pooled { bytes, pool }
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // One that was made for something else, or has grown.
        if self.bytes.capacity() != self.pool.capacity {
            return;
        }
        if let Ok(mut spare) = self.pool.spare.lock()
            && spare.len() < SPARE_BUFFERS
        {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shared_comes_back_a_few_at_most_and_nothing_of_another_size() {
        let pool = Pool::new(100);
        drop(Pooled::new(vec![0; 99], pool.clone()));
        let buffers: Vec<_> = (0..=SPARE_BUFFERS).map(|_| pool.get()).collect();
        let places: Vec<_> = buffers.iter().map(|bytes| bytes.as_ptr()).collect();
        for bytes in buffers {
            drop(Pooled::new(bytes, pool.clone()));
        }
        let kept = std::mem::take(&mut *pool.spare.lock().unwrap());
        let kept: Vec<_> = kept.iter().map(|bytes| bytes.as_ptr()).collect();
        assert_eq!(kept, places[..SPARE_BUFFERS]);
    }
}
