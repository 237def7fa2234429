//! Requests about addresses.

use api::{
    Allocate, Awaited, Claim, Expose, Exposed, Free, Hide, Lease, Leased, Leases, Left, Lookup,
    Removal, RemovePeer,
};

use super::super::fixtures::{cidr, wall, with_ipam};
use super::*;

const ORDERS: [(&str, &str); 8] = [
    ("/v1/addresses/allocate", r#"{"id":"b07","subnet":"10.32.0.0/24"}"#),
    ("/v1/addresses/claim", r#"{"id":"b07","address":"10.32.0.2/24"}"#),
    ("/v1/addresses/lookup", r#"{"id":"b07"}"#),
    ("/v1/addresses/free", r#"{"id":"b07","address":"10.32.0.2"}"#),
    ("/v1/rmpeer", r#"{"name":"host3","force":true}"#),
    ("/v1/leave", "{}"),
    ("/v1/expose", r#"{"address":"10.32.0.1/24"}"#),
    ("/v1/hide", "{}"),
];

#[tokio::test]
async fn each_request_reaches_the_daemon_and_its_word_comes_back() {
    let there = There::with(alone()).await;
    let leases = r#"{"now":"2026-11-21T00:16:40Z","leases":[{"id":"b07","address":"10.32.0.2/24","since":"2026-11-21T00:00:00Z"}]}"#;
    let removal = r#"{"name":"host3","nickname":"","epochs":[],"addresses":7,"waiting_for":[{"name":"n","nickname":"m","reason":"r"}]}"#;
    let answers = [
        r#"{"id":"b07","address":"10.32.0.9/24"}"#,
        r#"{"id":"b07","address":"10.32.0.2/24"}"#,
        leases,
        leases,
        removal,
        r#"{"heir":null,"nickname":null,"addresses":0}"#,
        r#"{"addresses":["10.32.0.1/24"]}"#,
        r#"{"addresses":[]}"#,
    ];
    for ((path, body), answer) in ORDERS.into_iter().zip(answers) {
        let said = there.unix(&post(path, body)).await;

        assert_eq!((said.code, &*said.body), (200, answer), "{path}");
        assert_eq!(there.unix(&get(path)).await.code, 405, "{path}");
    }
    for said in [there.unix(&get("/v1/addresses")).await, there.tcp(&get("/v1/addresses")).await] {
        assert_eq!((said.code, &*said.body), (200, leases));
    }
    let expected = [
        "allocate b07 10.32.0.0/24",
        "claim b07 10.32.0.2/24",
        "lookup b07 all",
        "free b07 10.32.0.2",
        "rmpeer host3 true",
        "leave",
        "expose 10.32.0.1/24",
        "hide all",
        "leases",
        "leases",
    ];
    assert_eq!(there.daemon.said(), expected);
}

#[tokio::test]
async fn over_tcp_nothing_is_changed() {
    let there = There::with(alone()).await;
    for (path, body) in ORDERS {
        let said = there.tcp(&post(path, body)).await;

        assert_eq!(said.code, 404, "{path}");
        assert!(said.problem().contains("over TCP nothing is changed"), "{}", said.problem());
    }
    assert_eq!(there.daemon.said(), [""; 0]);
}

#[tokio::test]
async fn over_tcp_there_is_the_text_of_the_page() {
    let there = There::with(with_ipam(|_| {})).await;

    let said = there.tcp(&get("/status/ipam")).await;

    assert_eq!((said.code, said.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(said.body.starts_with("02:00:00:00:00:00(host0) "), "{}", said.body);
}

#[tokio::test]
async fn a_refusal_has_its_code_and_the_daemons_words() {
    let there = There::with(alone()).await;
    for (because, code) in
        [(Because::Forbidden, 409), (Because::NotReady, 503), (Because::Absent, 404)]
    {
        there.daemon.refuse(because);
        for (path, body) in ORDERS {
            let said = there.unix(&post(path, body)).await;

            assert_eq!((said.code, &*said.problem()), (code, "no: because: so"), "{path}");
        }
        assert_eq!(there.unix(&get("/v1/addresses")).await.code, code);
    }
}

#[tokio::test]
async fn an_id_is_a_line_of_at_most_256_octets() {
    let there = There::with(alone()).await;
    let longest = "\u{e9}".repeat(128);
    for id in ["a", "weave:expose", " ", &longest] {
        for path in ["allocate", "lookup", "free"] {
            let body = serde_json::json!({ "id": id }).to_string();

            assert_eq!(there.unix(&post(&format!("/v1/addresses/{path}"), &body)).await.code, 200);
        }
    }
    let asked = there.daemon.said().len();
    let long = format!("{longest}a");
    for (id, why) in [
        ("", "is empty"),
        (&*long, "has 257 octets"),
        ("a\nb", "has control characters"),
        ("a\0", "has control characters"),
        ("\u{202e}a", "has control characters"),
    ] {
        for path in ["allocate", "claim", "lookup", "free"] {
            let mut body = serde_json::json!({ "id": id });
            if path == "claim" {
                body["address"] = "10.32.0.2/24".into();
            }
            let request = post(&format!("/v1/addresses/{path}"), &body.to_string());

            let said = there.unix(&request).await;

            let told = format!(
                ": the id {why}: give an id of 1 to 256 octets of text, such as a container's"
            );
            assert_eq!(said.code, 400, "{path} {id:?}");
            assert!(said.problem().ends_with(&told), "{}", said.problem());
        }
    }
    assert_eq!(there.daemon.said().len(), asked);
}

#[tokio::test]
async fn what_makes_no_sense_is_400_and_the_daemon_is_not_asked() {
    let there = There::with(alone()).await;
    let peer = format!(r#"{{"name":"{}"}}"#, "x".repeat(257));
    for (path, body, problem) in [
        (
            "/v1/addresses/allocate",
            r#"{"id":"b07","subnet":"10.32.0.5/24"}"#,
            "cannot lease an address: 10.32.0.5/24 is no subnet: is it 10.32.0.0/24?",
        ),
        (
            "/v1/addresses/lookup",
            r#"{"id":"b07","subnet":"fd00::1/64"}"#,
            "cannot look addresses up: fd00::1/64 is no subnet: is it fd00::/64?",
        ),
        (
            "/v1/addresses/claim",
            r#"{"id":"b07","address":"10.32.0.2"}"#,
            r#"send JSON such as {"id": "b07565b06c53", "address": "10.32.0.2/12"}; see docs/API.md"#,
        ),
        (
            "/v1/addresses/free",
            r#"{"id":"b07","address":"10.32.0.2/12"}"#,
            r#"send JSON such as {"id": "b07565b06c53", "address": "10.32.0.2"}; see docs/API.md"#,
        ),
        (
            "/v1/expose",
            r#"{"address":"10.32.0.2/33"}"#,
            r#"send JSON such as {"address": "10.32.0.1/12"}; see docs/API.md"#,
        ),
        ("/v1/leave", "", "send JSON such as {}; see docs/API.md"),
        (
            "/v1/rmpeer",
            r#"{"name":""}"#,
            "cannot remove the peer: its name is empty: name a peer of weft status ipam",
        ),
        (
            "/v1/rmpeer",
            &peer,
            "cannot remove the peer: its name has 257 octets: name a peer of weft status ipam",
        ),
    ] {
        let said = there.unix(&post(path, body)).await;

        assert_eq!(said.code, 400, "{path}");
        assert!(said.problem().ends_with(problem), "{}", said.problem());
    }
    // A nickname is what a peer has said.
    assert_eq!(there.unix(&post("/v1/rmpeer", r#"{"name":"a\u001bb"}"#)).await.code, 200);
    assert_eq!(there.daemon.said(), ["rmpeer a\u{1b}b false"]);
}

#[tokio::test]
async fn a_body_is_short() {
    let there = There::with(alone()).await;
    for (path, body) in ORDERS {
        let long = format!("{body}{}", " ".repeat(8 << 10));

        let said = there.unix(&post(path, &long)).await;

        assert_eq!(said.code, 413, "{path}");
        let told = said.problem();
        assert!(told.contains("its body has more than 8192 octets: send JSON such as {"), "{told}");
    }
    assert_eq!(there.daemon.said(), [""; 0]);
}

#[tokio::test]
async fn a_request_may_take_longer_than_a_page_but_not_for_ever() {
    let (page, request) = (Duration::from_millis(100), Duration::from_millis(400));
    let there =
        There::within(alone(), Limits { answer: page, address: request, ..Limits::default() })
            .await;
    there.daemon.hold(true);
    let asked = tokio::time::Instant::now();

    let page = there.unix(&post("/v1/forget", r#"{"peers":["a"]}"#)).await;
    let ended = there.unix(&post("/v1/addresses/lookup", r#"{"id":"b07"}"#)).await;

    assert!(page.problem().contains("said nothing for 100ms"), "{}", page.problem());
    assert!(ended.problem().contains("said nothing for 400ms"), "{}", ended.problem());
    assert_eq!((page.code, ended.code), (500, 500));
    assert!(asked.elapsed() >= request);
}

#[tokio::test]
async fn a_client_of_the_api_asks_and_hears() {
    let there = There::with(with_ipam(|_| {})).await;
    let client = api::Client::new(&there.socket, None);

    let asked = blocking(move || {
        let id = || "b07".to_owned();
        let leased = client.allocate(&Allocate { id: id(), subnet: None }).unwrap();
        assert_eq!((leased.id, leased.address), (id(), cidr("10.32.0.9/24")));
        let address = cidr("10.32.0.2/24");
        assert_eq!(client.claim(&Claim { id: id(), address }).unwrap().address, address);
        let found = client.lookup(&Lookup { id: id(), subnet: None }).unwrap();
        assert_eq!(client.free(&Free { id: id(), address: None }).unwrap(), found);
        assert_eq!(client.read::<Leases>().unwrap().value, found);
        let removal = RemovePeer { name: "host3".into(), force: false };
        assert_eq!(client.remove_peer(&removal).unwrap().waiting_for[0].reason, "r");
        assert_eq!(client.leave().unwrap().heir, None);
        let exposed = client.expose(&Expose { address: Some(address) }).unwrap();
        assert_eq!(exposed.addresses, [address]);
        let hidden = client.hide(&Hide { address: Some(address) }).unwrap();
        assert_eq!(hidden.addresses, []);
    });

    asked.await;
}

#[tokio::test]
async fn a_client_of_the_api_hears_what_is_refused() {
    let there = There::with(alone()).await;
    there.daemon.refuse(Because::NotReady);
    let client = api::Client::new(&there.socket, None);

    let refused = blocking(move || {
        let errors = [
            client.allocate(&Allocate { id: "b07".into(), subnet: None }).unwrap_err(),
            client.read::<Leases>().unwrap_err(),
            client.leave().unwrap_err(),
            client.hide(&Hide { address: None }).unwrap_err(),
        ];
        errors.map(|error| error.to_string())
    });

    assert_eq!(refused.await, ["no: because: so"; 4]);
}

impl Fake {
    fn leased(&self) -> Leases {
        let lease = Lease { id: "b07".into(), address: cidr("10.32.0.2/24"), since: wall(0) };
        Leases { now: wall(1000), leases: vec![lease] }
    }
}

impl Addresses for Fake {
    async fn allocate(&self, Allocate { id, subnet }: Allocate) -> Result<Leased, Refusal> {
        self.say(format!("allocate {id} {}", shown(subnet)));
        self.answer(Leased { id, address: cidr("10.32.0.9/24") }).await
    }

    async fn claim(&self, Claim { id, address }: Claim) -> Result<Leased, Refusal> {
        self.say(format!("claim {id} {address}"));
        self.answer(Leased { id, address }).await
    }

    async fn lookup(&self, Lookup { id, subnet }: Lookup) -> Result<Leases, Refusal> {
        self.say(format!("lookup {id} {}", shown(subnet)));
        self.answer(self.leased()).await
    }

    async fn free(&self, Free { id, address }: Free) -> Result<Leases, Refusal> {
        self.say(format!("free {id} {}", shown(address)));
        self.answer(self.leased()).await
    }

    async fn leases(&self) -> Result<Leases, Refusal> {
        self.say("leases".into());
        self.answer(self.leased()).await
    }

    async fn remove_peer(
        &self,
        RemovePeer { name, force }: RemovePeer,
    ) -> Result<Removal, Refusal> {
        self.say(format!("rmpeer {name} {force}"));
        let [who, nickname, reason] = ["n", "m", "r"].map(str::to_owned);
        let waiting_for = vec![Awaited { name: who, nickname, reason }];
        let (nickname, epochs) = (String::new(), Vec::new());
        self.answer(Removal { name, nickname, epochs, addresses: 7, waiting_for }).await
    }

    async fn leave(&self) -> Result<Left, Refusal> {
        self.say("leave".into());
        self.answer(Left { heir: None, nickname: None, addresses: 0 }).await
    }

    async fn expose(&self, Expose { address }: Expose) -> Result<Exposed, Refusal> {
        self.say(format!("expose {}", shown(address)));
        self.answer(Exposed { addresses: address.into_iter().collect() }).await
    }

    async fn hide(&self, Hide { address }: Hide) -> Result<Exposed, Refusal> {
        self.say(format!("hide {}", shown(address)));
        self.answer(Exposed { addresses: Vec::new() }).await
    }
}

fn shown(of: Option<impl ToString>) -> String {
    of.map_or_else(|| "all".to_owned(), |it| it.to_string())
}
