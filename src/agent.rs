//! The agent: measures its candidate edges, holds its plans, chooses live among its routes, reports.

mod outbox;
mod uplink;
