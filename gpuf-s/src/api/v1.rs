//! The routes of `/api/v1`: things, and what can be done to them.

pub(super) mod agents;
pub(super) mod audit;
pub(super) mod catalogue;
pub(super) mod keys;
pub(super) mod models;
pub(super) mod past;
pub(super) mod servers;
pub(super) mod tenants;
pub(super) mod tokens;
pub(super) mod usage;
pub(super) mod usage_sums;
