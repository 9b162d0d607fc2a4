//! The runtime put together: one governed, reversible, recorded road for agent actions.
