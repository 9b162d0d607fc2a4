//! Doing many: workflow documents, their validation, order, templates and rollback.
