//! What the trail promises.
