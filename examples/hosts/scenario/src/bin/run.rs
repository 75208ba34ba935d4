//! The acts in the reactor's own loop, to be compared with: `run chat`.

fn main() {
    let act = std::env::args().next_back().unwrap_or_default();
    println!("{}", scenario::run(&act));
}
