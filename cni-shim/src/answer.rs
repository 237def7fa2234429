//! What is printed: results, errors and versions.

use rscni_types::error::Error;
use rscni_types::legacy;
use rscni_types::types::{CNIResult, CNIResultWithVersion, ErrorResult};
use rscni_types::version::{PluginInfo, SpecVersion};
use serde::Serialize;
use serde_json::json;

/// The versions of the specification that are understood.
pub const SUPPORTED: [SpecVersion; 5] = [
    SpecVersion::new(0, 3, 0),
    SpecVersion::new(0, 3, 1),
    SpecVersion::new(0, 4, 0),
    SpecVersion::new(1, 0, 0),
    SpecVersion::new(1, 1, 0),
];

/// The answer to ADD, in the layout of the version of its configuration.
///
/// # Errors
/// It has no form in JSON, which no result of ours is.
pub fn result(version: SpecVersion, result: CNIResult) -> Result<String, Error> {
    if version.is_legacy() {
        to_json(&legacy::CNIResult::new(version, result))
    } else {
        to_json(&CNIResultWithVersion::new(version, result))
    }
}

/// The answer to what failed. Without a version that is understood, in the newest one.
pub fn error(version: Option<SpecVersion>, error: &Error) -> String {
    let version = version.unwrap_or(SpecVersion::CURRENT);
    let written = to_json(&ErrorResult::new(version, error));
    written.unwrap_or_else(|error| json!({ "code": 999, "msg": error.details() }).to_string())
}

/// The answer to VERSION.
pub fn versions() -> String {
    to_json(&plugin()).unwrap_or_default()
}

/// What it says of itself.
pub(crate) fn plugin() -> PluginInfo {
    PluginInfo::new(SpecVersion::CURRENT, SUPPORTED.to_vec())
}

fn to_json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::FailedToDecode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use rscni_types::types::{Interface, IpConfig};
    use serde_json::Value;

    use super::*;

    fn of_pod() -> CNIResult {
        let interface = |name: &str, sandbox: Option<&str>| Interface {
            name: name.to_owned(),
            mac: "02:00:0a:20:00:01".to_owned(),
            mtu: Some(1410),
            sandbox: sandbox.map(str::to_owned),
            socket_path: None,
            pci_id: None,
        };
        let ip = IpConfig {
            interface: Some(1),
            address: "10.32.0.1/12".parse().unwrap(),
            gateway: Some("10.32.0.2".parse().unwrap()),
        };
        let interfaces = vec![interface("weave", None), interface("eth0", Some("/run/netns/a"))];
        CNIResult { interfaces, ips: vec![ip], ..CNIResult::default() }
    }

    #[test]
    fn a_result_has_the_layout_of_the_version_that_was_asked_in() {
        for version in SUPPORTED {
            let told: Value = serde_json::from_str(&result(version, of_pod()).unwrap()).unwrap();

            assert_eq!(told["cniVersion"], version.to_string());
            assert_eq!(told["ips"][0]["address"], "10.32.0.1/12");
            assert_eq!(told["interfaces"][1]["sandbox"], "/run/netns/a");
            let old = version < SpecVersion::new(1, 0, 0);
            assert_eq!(told["ips"][0].get("version").is_some(), old, "{told}");
            assert_eq!(told["interfaces"][1].get("mtu").is_none(), old, "{told}");
        }
    }

    #[test]
    fn an_error_is_an_object_with_a_code() {
        let why = Error::TryAgainLater("weftd does not answer".to_owned());
        let told: Value = serde_json::from_str(&error(None, &why)).unwrap();

        assert_eq!(told["code"], 11);
        assert_eq!(told["cniVersion"], "1.1.0");
        assert_eq!(told["details"], "weftd does not answer");
        assert!(
            versions().contains(r#""supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]"#)
        );
    }
}
