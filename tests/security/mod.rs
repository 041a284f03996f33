//! Attacks, each as a test that fails where the attack works.
