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
/// `GET`: [`crate::Ipam`].
pub const IPAM: &str = "/v1/status/ipam";
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
/// `GET`: [`crate::Leases`].
pub const ADDRESSES: &str = "/v1/addresses";
/// `POST` of [`crate::Allocate`]: [`crate::Leased`].
pub const ALLOCATE: &str = "/v1/addresses/allocate";
/// `POST` of [`crate::Claim`]: [`crate::Leased`].
pub const CLAIM: &str = "/v1/addresses/claim";
/// `POST` of [`crate::Lookup`]: [`crate::Leases`].
pub const LOOKUP: &str = "/v1/addresses/lookup";
/// `POST` of [`crate::Free`]: [`crate::Leases`], those that were freed.
pub const FREE: &str = "/v1/addresses/free";
/// `POST` of [`crate::RemovePeer`]: [`crate::Removal`].
pub const RMPEER: &str = "/v1/rmpeer";
/// `POST` of [`crate::Leave`]: [`crate::Left`].
pub const LEAVE: &str = "/v1/leave";
/// `POST` of [`crate::Expose`]: [`crate::Exposed`].
pub const EXPOSE: &str = "/v1/expose";
/// `POST` of [`crate::Hide`]: [`crate::Exposed`].
pub const HIDE: &str = "/v1/hide";
/// `GET`: [`crate::Pods`].
pub const PODS: &str = "/v1/pods";
/// `POST` of [`crate::Plug`]: [`crate::Plugged`].
pub const PLUG: &str = "/v1/pods/plug";
/// `POST` of [`crate::Unplug`]: [`crate::Pods`], those that were unplugged.
pub const UNPLUG: &str = "/v1/pods/unplug";
/// `POST` of [`crate::Check`]: [`crate::Plugged`].
pub const CHECK: &str = "/v1/pods/check";
/// `POST` of [`crate::Gc`]: [`crate::Pods`], those that were unplugged.
pub const GC: &str = "/v1/pods/gc";
/// `GET`: 200 while the process lives.
pub const HEALTHZ: &str = "/healthz";
/// `GET`: 200 when ready, 503 before.
pub const READYZ: &str = "/readyz";

/// Those that are read with `GET`.
pub const READ: [&str; 14] = [
    STATUS,
    CONNECTIONS,
    PEERS,
    TARGETS,
    PATHS,
    IPAM,
    FDB,
    REPORT,
    METRICS,
    JOURNAL,
    ADDRESSES,
    PODS,
    HEALTHZ,
    READYZ,
];

/// Those that take a `POST`.
pub const POSTED: [&str; 14] = [
    CONNECT, FORGET, ALLOCATE, CLAIM, LOOKUP, FREE, RMPEER, LEAVE, EXPOSE, HIDE, PLUG, UNPLUG,
    CHECK, GC,
];
