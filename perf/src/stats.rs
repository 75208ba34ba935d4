//! Medians, and the distribution of times.

/// The middle of `values`, or NaN if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

pub(crate) fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

pub(crate) fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// How many buckets a power of two has: each is 1.6 % wide.
const STEPS: usize = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts of times, in buckets that grow with the time.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; STEPS * (65 - STEP_BITS as usize)],
            total: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// The time that `share` of all times do not exceed: 0.99 for p99.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        // At least one, so that an empty bucket is not an answer.
        let want = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= want {
                return middle(index);
            }
        }
        f64::NAN
    }
}

/// Small values have a bucket each; from then on each power of two has `STEPS`.
fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    if bits <= STEP_BITS {
        return value as usize;
    }
    let shift = bits - STEP_BITS - 1;
    (shift as usize + 1) * STEPS + ((value >> shift) as usize - STEPS)
}

fn middle(bucket: usize) -> f64 {
    if bucket < 2 * STEPS {
        return bucket as f64;
    }
    let shift = (bucket / STEPS - 1) as i32;
    ((bucket % STEPS + STEPS) as f64 + 0.5) * f64::from(shift).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_bucket_holds_its_middle() {
        for value in (0..200).chain([1000, 65_535, 65_536, 1 << 40, u64::MAX]) {
            let about = middle(bucket(value));
            let off = (about - value as f64).abs() / (value as f64).max(1.0);
            assert!(off < 0.016, "{value}: {about}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|v| histogram.record(v));
        for (share, want) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = histogram.quantile(share);
            assert!((got - want).abs() / want < 0.016, "{share}: {got}");
        }
    }
}
