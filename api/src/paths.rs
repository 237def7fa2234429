//! Where in the daemon things are.

/// `GET`: [`crate::Status`].
pub const STATUS: &str = "/v1/status";
/// `GET`: [`crate::Connections`].
pub const CONNECTIONS: &str = "/v1/status/connections";
/// `GET`: [`crate::Peers`].
pub const PEERS: &str = "/v1/status/peers";
/// `GET`: [`crate::Targets`].
pub const TARGETS: &str = "/v1/status/targets";
/// `GET`: [`crate::Paths`].
pub const PATHS: &str = "/v1/status/paths";
/// `GET`: [`crate::Fdb`].
pub const FDB: &str = "/v1/fdb";
/// `GET`: [`crate::Report`].
pub const REPORT: &str = "/v1/report";
/// `GET`: what Prometheus reads, as text.
pub const METRICS: &str = "/metrics";
/// `GET`: the flight recorder's journal, as octets.
pub const JOURNAL: &str = "/v1/journal";
/// `POST` of [`crate::Connect`]: [`crate::Given`].
pub const CONNECT: &str = "/v1/connect";
/// `POST` of [`crate::Forget`]: [`crate::Given`].
pub const FORGET: &str = "/v1/forget";
/// `GET`: 200 while the process lives.
pub const HEALTHZ: &str = "/healthz";
/// `GET`: 200 when ready, 503 before.
pub const READYZ: &str = "/readyz";

/// All of them.
pub const ALL: [&str; 13] = [
    STATUS,
    CONNECTIONS,
    PEERS,
    TARGETS,
    PATHS,
    FDB,
    REPORT,
    METRICS,
    JOURNAL,
    CONNECT,
    FORGET,
    HEALTHZ,
    READYZ,
];
