//! May it be done: policy, write gate, approvals, warrants.
