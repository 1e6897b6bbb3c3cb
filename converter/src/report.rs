//! What a conversion did, for people and as JSON.
