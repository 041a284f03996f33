//! What each endpoint says to good and bad requests.
