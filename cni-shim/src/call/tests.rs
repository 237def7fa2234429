//! After `pkg/skel/skel_test.go` of containernetworking/cni.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Address, Ipam};

const VERBS: [&str; 5] = ["ADD", "CHECK", "DEL", "GC", "STATUS"];
const ALL: [(&str, &str); 6] = [
    (CNI_CONTAINERID, "c-1"),
    (CNI_IFNAME, "eth0"),
    (CNI_NETNS, "/run/netns/a"),
    (CNI_PATH, "/opt/cni/bin:/usr/lib/cni"),
    (CNI_ARGS, "IgnoreUnknown=true;K8S_POD_NAME=web-0"),
    (CNI_COMMAND, "ADD"),
];

fn env(verb: &str) -> BTreeMap<String, OsString> {
    let all = ALL.into_iter().map(|(key, value)| (key.to_owned(), OsString::from(value)));
    all.chain([(CNI_COMMAND.to_owned(), OsString::from(verb))]).collect()
}

fn config(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "weft", "type": "weft-cni",
        "prevResult": { "ips": [{ "version": "4", "address": "10.32.0.1/12" }] },
        "cni.dev/valid-attachments": [{ "containerID": "c-1", "ifname": "eth0" }],
    })
}

fn read_with(env: &BTreeMap<String, OsString>, stdin: &[u8]) -> Result<Call, Refused> {
    Call::read(|name| env.get(name).cloned(), stdin)
}

fn request(env: &BTreeMap<String, OsString>, config: &Value) -> Result<Request, Error> {
    match read_with(env, config.to_string().as_bytes()) {
        Ok(Call::Request(request)) => Ok(*request),
        Ok(other) => panic!("{other:?}"),
        Err((_, error)) => Err(error),
    }
}

/// The code and the details of what is refused; (0, ..) if it is not.
fn refused(env: &BTreeMap<String, OsString>, config: &Value) -> (u32, String) {
    let error = request(env, config).err();
    error.map_or((0, String::new()), |error| (u32::from(&error), error.details().to_owned()))
}

#[test]
fn each_verb_needs_its_variables_and_all_that_are_missing_are_named() {
    let ours = [CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH];
    for (verb, needed) in [
        ("ADD", &ours[..]),
        ("CHECK", &ours),
        ("DEL", &[CNI_CONTAINERID, CNI_IFNAME, CNI_PATH]),
        ("GC", &[CNI_PATH]),
        ("STATUS", &[CNI_PATH]),
    ] {
        for name in [CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH, CNI_ARGS] {
            let mut env = env(verb);
            env.remove(name);
            let (code, why) = refused(&env, &config("1.1.0"));

            assert_eq!(code == 4, needed.contains(&name), "{verb} without {name}: {code} {why}");
        }
        let bare = BTreeMap::from([(CNI_COMMAND.to_owned(), OsString::from(verb))]);
        let (code, why) = refused(&bare, &config("1.1.0"));
        let missing = format!("required env variables [{}] missing", needed.join(","));
        assert_eq!((code, why), (4, missing));
    }
}

#[test]
fn versions_are_told_without_stdin_and_about_without_a_verb() {
    struct Closed;
    impl Read for Closed {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("not to be read"))
        }
    }
    let get = |verb: &str| {
        let env = env(verb);
        Call::read(move |name| env.get(name).cloned(), Closed)
    };

    assert_eq!(get("VERSION"), Ok(Call::Version));
    assert_eq!(get(""), Ok(Call::About));
    assert!(matches!(get("add"), Err((None, Error::InvalidEnvValue(_)))));
    let Err((None, error)) = get("ADD") else { panic!("no stdin") };
    assert_eq!(u32::from(&error), 5);
}

#[test]
fn names_that_could_be_paths_are_refused() {
    for (name, bad) in [
        (CNI_CONTAINERID, &["../c", "c/1", ".c", "-c", "c 1", "c\n", "c%"][..]),
        (CNI_IFNAME, &["a/b", "..", ".", "a:b", "a b", "a\tb", "sixteen-letters1"]),
    ] {
        for bad in bad {
            for verb in ["ADD", "CHECK", "DEL"] {
                let mut env = env(verb);
                env.insert(name.to_owned(), bad.into());

                assert_eq!(refused(&env, &config("1.1.0")).0, 4, "{verb} {name}={bad:?}");
            }
        }
    }
    for bad in ["", "we ft", "../weft", ".weft", "we/ft"] {
        let mut config = config("1.1.0");
        config["name"] = json!(bad);
        assert_eq!(refused(&env("ADD"), &config).0, 7, "{bad:?}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let mut env = env("ADD");
        env.insert(CNI_IFNAME.to_owned(), OsString::from_vec(vec![b'e', 0xff]));
        assert_eq!(refused(&env, &config("1.1.0")).0, 4);
    }
}

#[test]
fn each_version_allows_the_verbs_that_it_has() {
    for (version, allowed) in [
        ("0.3.0", &["ADD", "DEL"][..]),
        ("0.3.1", &["ADD", "DEL"]),
        ("0.4.0", &["ADD", "DEL", "CHECK"]),
        ("1.0.0", &["ADD", "DEL", "CHECK"]),
        ("1.1.0", &VERBS),
        ("", &[]),
        ("0.1.0", &[]),
        ("0.2.0", &[]),
        ("2.0.0", &[]),
    ] {
        for verb in VERBS {
            let expected = if allowed.contains(&verb) { 0 } else { 1 };
            assert_eq!(refused(&env(verb), &config(version)).0, expected, "{version} {verb}");
        }
    }
    assert_eq!(refused(&env("ADD"), &config("one")).0, 6);
}

#[test]
fn what_is_no_configuration_is_told_as_such() {
    for (stdin, code) in [
        (&b""[..], 6),
        (b"{", 6),
        (b"[]", 6),
        (b"null", 6),
        (b"\xff{}", 6),
        (b"{} {}", 6),
        (br#"{"cniVersion": 1}"#, 6),
        (br#"{"cniVersion": "1.1.0"}"#, 7),
    ] {
        let Err((_, error)) = read_with(&env("ADD"), stdin) else { panic!("{stdin:?}") };
        assert_eq!(u32::from(&error), code, "{stdin:?}: {error:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(read_with(&env("ADD"), deep.as_bytes()).is_err());
    // A great one is one, and a greater one is none.
    for (len, code) in [(1 << 20, 0), (5 << 20, 7)] {
        let mut config = config("1.1.0");
        config["unknown"] = json!("x".repeat(len));
        assert_eq!(refused(&env("ADD"), &config).0, code);
    }
}

#[test]
fn fields_of_the_wrong_type_or_without_sense_are_refused_and_unknown_ones_are_not() {
    for (field, value, code) in [
        ("mtu", json!("1500"), 6),
        ("mtu", json!(-1), 6),
        ("mtu", json!(67), 7),
        ("mtu", json!(70_000), 7),
        ("mtu", json!(0), 0),
        ("mtu", json!(null), 0),
        ("hairpinMode", json!("yes"), 6),
        ("isGateway", json!(true), 2),
        ("ipMasq", json!(true), 2),
        ("ipMasq", json!(false), 0),
        ("ipam", json!([]), 6),
        ("ipam", json!({}), 0),
        ("ipam", json!({ "type": "../sh" }), 7),
        ("ipam", json!({ "subnet": "10.32.0.0/33" }), 6),
        ("ipam", json!({ "ips": ["ten"] }), 7),
        ("ipam", json!({ "routes": [{ "dst": "everywhere" }] }), 6),
        ("runtimeConfig", json!({ "mac": "01:00:5e:00:00:01" }), 7),
        ("runtimeConfig", json!({ "mac": "02:00" }), 7),
        ("runtimeConfig", json!({ "mac": "" }), 0),
        ("runtimeConfig", json!({ "PortMappings": [{ "HostPort": 80 }] }), 0),
        ("prevResult", json!("none"), 6),
        ("cni.dev/valid-attachments", json!([{ "containerID": 1 }]), 6),
        ("made-up", json!({ "a": [1, 2] }), 0),
    ] {
        let mut config = config("1.1.0");
        config[field] = value.clone();
        assert_eq!(refused(&env("ADD"), &config).0, code, "{field}: {value}");
    }
}

#[test]
fn keys_are_read_in_any_case_and_the_first_to_say_something_counts() {
    let mut config = config("1.1.0");
    config["HAIRPINMODE"] = json!(false);
    config["IPAM"] =
        json!({ "Subnet": "10.40.0.0/16", "ips": ["10.40.0.9/16"], "Gateway": "10.40.0.1" });
    let (mut env, ip) = (env("ADD"), |text: &str| text.parse().unwrap());
    let wanted = |env: &BTreeMap<String, OsString>, config: &Value| {
        let config = request(env, config).unwrap().config;
        (config.addresses, config.mac.map(|mac| mac[5]))
    };

    let read = request(&env, &config).unwrap();
    assert!(!read.config.hairpin);
    assert_eq!(read.args.get("K8S_POD_NAME"), Some("web-0"));
    assert_eq!(read.path.len(), 2);
    let (subnet, gateway) = ("10.40.0.0/16".parse().ok(), Some(ip("10.40.0.1")));
    assert_eq!(read.config.ipam, Ipam::Own { subnet, gateway, routes: None });
    let of = |text: &str, prefix| vec![Address { ip: ip(text), prefix }];
    assert_eq!(wanted(&env, &config), (of("10.40.0.9", Some(16)), None));
    env.insert(CNI_ARGS.to_owned(), "IP=10.40.0.8;MAC=02:00:00:00:00:08".into());
    assert_eq!(wanted(&env, &config), (of("10.40.0.8", None), Some(8)));
    config["args"] = json!({ "cni": { "ips": ["10.40.0.7"], "mac": "02:00:00:00:00:07" } });
    assert_eq!(wanted(&env, &config), (of("10.40.0.7", None), Some(7)));
    config["runtimeConfig"] = json!({ "IPs": ["10.40.0.6/16"], "MAC": "02-00-00-00-00-06" });
    assert_eq!(wanted(&env, &config), (of("10.40.0.6", Some(16)), Some(6)));
}

#[test]
fn gc_without_a_list_removes_nothing_and_null_is_an_empty_one() {
    let mut config = config("1.1.0");
    assert_eq!(request(&env("GC"), &config).unwrap().config.valid.unwrap().len(), 1);
    config["cni.dev/valid-attachments"] = Value::Null;
    assert_eq!(request(&env("GC"), &config).unwrap().config.valid, Some(Vec::new()));
    config.as_object_mut().unwrap().remove("cni.dev/valid-attachments");
    assert_eq!(refused(&env("GC"), &config).0, 7);
}

#[test]
fn del_needs_no_namespace_and_check_needs_what_add_said() {
    let mut env = env("DEL");
    env.insert(CNI_NETNS.to_owned(), "".into());
    let attachment = request(&env, &config("1.0.0")).unwrap().attachment.unwrap();
    assert_eq!((&*attachment.container, &*attachment.ifname), ("c-1", "eth0"));
    assert_eq!(attachment.netns, None);

    let mut config = config("1.0.0");
    config.as_object_mut().unwrap().remove("prevResult");
    assert_eq!(refused(&self::env("CHECK"), &config).0, 7);
    assert_eq!(refused(&self::env("DEL"), &config).0, 0);
}

#[test]
fn pairs_of_cni_args_are_pairs() {
    for (args, code) in [("", 0), ("a=", 0), ("a=b;;", 0), ("a=b=c", 0), ("a", 4), ("=b", 4)] {
        let mut env = env("ADD");
        env.insert(CNI_ARGS.to_owned(), args.into());
        assert_eq!(refused(&env, &config("1.1.0")).0, code, "{args:?}");
    }
}

proptest! {
    #[test]
    fn nothing_on_stdin_makes_it_panic(stdin in prop::collection::vec(any::<u8>(), 0..200), verb in 0usize..5) {
        let _ = read_with(&env(VERBS[verb]), &stdin);
    }

    #[test]
    fn nothing_in_the_environment_makes_it_panic(
        values in prop::collection::vec("\\PC{0,20}", 6), verb in 0usize..5
    ) {
        let mut all = env(VERBS[verb]);
        for ((name, _), value) in ALL.into_iter().zip(values) {
            if name != CNI_COMMAND {
                all.insert(name.to_owned(), value.into());
            }
        }
        let _ = request(&all, &config("1.1.0"));
    }
}
