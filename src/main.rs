//! Arguments to command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    use_small_pages();
    keyward::cli::main()
}

/// The allocator asks for huge pages and touches little of each: an idle server would be some 8 MB larger.
#[cfg(target_os = "linux")]
fn use_small_pages() {
    // A kernel that knows no huge pages refuses, and has done what was asked.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
