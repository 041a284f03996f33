//! A real browser drives the demo.
