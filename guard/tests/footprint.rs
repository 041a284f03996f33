//! How many crates a program takes on with this one, by features. Grown dependencies show here before anyone complains.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that are compiled for these features, this one included.
fn crates(features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "keyward-guard", "--edges", "normal", "--prefix", "none"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // A crate that was shown before has a mark after it.
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_crate_stays_small() {
    let check = |features: &[&str], limit: usize| {
        let found = crates(features);
        assert!(found.iter().any(|name| name.starts_with("keyward-guard ")), "{found:?}");
        assert!(found.len() <= limit, "{} crates with {features:?}: {found:#?}", found.len());
        for banned in ["ring ", "native-tls ", "openssl ", "openssl-sys ", "keyward ", "keyward-protocol "] {
            assert!(!found.iter().any(|name| name.starts_with(banned)), "{banned}with {features:?}");
        }
    };
    check(&["--no-default-features"], 25);
    check(&["--no-default-features", "--features", "tower"], 60);
    check(&[], 110);
    check(&["--features", "introspection"], 110);
    check(&["--features", "axum,introspection"], 120);
}
