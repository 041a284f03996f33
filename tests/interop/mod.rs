//! Foreign client libraries against a running server over https.
