//! The kernels compile for every generation that is supported; needs NVRTC, no GPU.

use cuda::kernels::{Shape, compile};

#[test]
fn they_compile_for_every_generation() {
    for architecture in ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100"] {
        for (head_dim, group) in [(8, 2), (32, 2), (64, 7), (128, 6), (128, 16)] {
            match compile(Shape { head_dim, group }, architecture) {
                Ok(binary) => assert!(binary.starts_with(b"\x7fELF"), "{architecture}"),
                Err(error @ cuda::Error::MissingLibrary { .. }) if !required() => {
                    eprintln!("skipped: this test needs NVRTC: {error}");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn required() -> bool {
    std::env::var_os("NCOMP_TEST_NVRTC").is_some_and(|value| value == "require")
}
