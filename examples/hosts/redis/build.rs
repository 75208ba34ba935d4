//! Builds the shim, and finds hiredis by pkg-config.

fn main() {
    let hiredis = pkg_config::probe_library("hiredis").expect("libhiredis-dev");
    let mut build = cc::Build::new();
    build
        .includes(&hiredis.include_paths)
        .file("src/shim.c")
        .warnings(true);
    build.compile("shim");
    println!("cargo::rerun-if-changed=src/shim.c");
    // After the shim, which needs it.
    println!("cargo::rustc-link-lib=hiredis");
}
