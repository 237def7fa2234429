//! A daemon that is asked by plugins of other releases: what theirs have asked is recorded, with what they were answered
//! (cni-shim/tests/recorded.rs).

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use weft_tests::harness::runtime::{Container, add};
use weft_tests::harness::weftd::text;
use weft_tests::harness::{Lab, beside};

use crate::{nothing_left, one};

const THIS: &str = include_str!("../../../cni-shim/tests/recorded/0.1.0.json");
const NEXT: &str = include_str!("../../../cni-shim/tests/recorded/next.json");
/// Where a plugin leaves what it cannot ask.
const QUEUE: &str = "/var/lib/weft/unplug";

#[test]
fn plugins_of_other_releases_are_served() {
    let _turn = beside().unwrap();
    for (release, recorded) in [("0.1.0", THIS), ("next", NEXT)] {
        Lab::with("cni-replay", |lab| {
            let (node, daemon) = one(lab, &[])?;
            let asked: Vec<Value> = serde_json::from_str(recorded)?;
            // What a later one is answered nobody knows; this release answers as it does.
            let known: Vec<Value> = serde_json::from_str(THIS)?;
            ensure!(asked.len() == known.len());
            // Each is called as a namespace that the plugin was given.
            let all = ["cni-8c3f0d52", "cni-2e91b7aa", "cni-c0ffee00"];
            let all = all.map(|id| Container::new(&node, id));
            let all = all.into_iter().collect::<Result<Vec<_>>>()?;
            for (exchange, known) in asked.iter().zip(&known) {
                let name = text(exchange, "/name")?;
                let path = text(exchange, "/request/path")?;
                let body = exchange.pointer("/request/body").filter(|it| it.is_object());
                let given = exchange.pointer("/request/descriptor") == Some(&Value::Bool(true));
                let netns = given.then(|| text(exchange, "/request/body/netns")).transpose()?;
                let netns = netns.map(|netns| {
                    let whose = all.iter().find(|it| netns.ends_with(&it.id));
                    File::open(whose.context("whose namespace?")?.netns())
                        .context("it is not there")
                });
                let netns = netns.transpose()?;

                let told = match body {
                    Some(body) => daemon.post_with(&path, body, netns.as_ref().map(File::as_fd))?,
                    None => daemon.get(&path)?,
                };

                let code = known.pointer("/answer/code").and_then(Value::as_u64);
                ensure!(Some(u64::from(told.code)) == code, "{release}: {name}: {told:?}");
                let answer = known.pointer("/answer/body").context("no answer")?;
                still_told(answer, &told.body).with_context(|| format!("{name}: {}", told.body))?;
            }
            nothing_left(&node, &daemon)
        })
        .unwrap();
    }
}

#[test]
fn what_a_plugin_of_another_release_has_left_to_be_unplugged_is_unplugged() {
    let _turn = beside().unwrap();
    for recorded in [THIS, NEXT] {
        Lab::with("cni-replay-queue", |lab| {
            let (node, mut daemon) = one(lab, &[])?;
            let all: Vec<Value> = serde_json::from_str(recorded)?;
            let unplug = Some(&json!("/v1/pods/unplug"));
            let asked = all.iter().find(|it| it.pointer("/request/path") == unplug);
            let asked = asked.and_then(|it| it.pointer("/request/body")).context("none")?;
            let container = Container::new(&node, &text(asked, "/id")?)?;
            add(&node, &container)?;
            daemon.kill()?;
            node.sh(&format!(
                "mkdir -p {QUEUE}; cat >{QUEUE}/{}:eth0.json <<'END'\n{asked}\nEND",
                container.id
            ))?;

            daemon.restart()?;

            nothing_left(&node, &daemon)?;
            ensure!(node.run(&["ls", "-A", QUEUE])?.is_empty(), "it is still in the queue");
            Ok(())
        })
        .unwrap();
    }
}

/// All that was told then is told still, each by its name and of its kind.
fn still_told(then: &Value, now: &Value) -> Result<()> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => then.iter().try_for_each(|(name, then)| {
            let now = now.get(name).with_context(|| format!("{name} is not told"))?;
            still_told(then, now).with_context(|| name.clone())
        }),
        (Value::Array(then), Value::Array(now)) => {
            ensure!(then.len() == now.len(), "{} are told, not {}", now.len(), then.len());
            then.iter().zip(now).try_for_each(|(then, now)| still_told(then, now))
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, _) => Ok(()),
        (then, now) => bail!("{now} is told where it was {then}"),
    }
}
