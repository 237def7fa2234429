//! Many pods at once.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::runtime::{Container, add, address, del};
use weft_tests::harness::{Lab, Stopwatch, serial};

use crate::{nothing_left, one, pods};

/// How many.
const PODS: usize = 200;
/// They are there, and gone, after this time.
const SOON: Duration = Duration::from_secs(120);

/// Does it for all at once.
fn all_at_once<T: Send>(
    all: &[Container],
    each: impl Fn(&Container) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|it| scope.spawn(move || each(it))).collect();
        let outcomes = threads.into_iter().map(|it| it.join());
        outcomes.map(|it| it.unwrap_or_else(|_| anyhow::bail!("a thread has panicked"))).collect()
    })
}

#[test]
fn two_hundred_pods_are_added_at_once_and_removed_at_once() {
    let _turn = serial().unwrap();
    Lab::with("cni-crowd", |lab| {
        let (node, daemon) = one(lab, &[])?;
        let all = (0..PODS).map(|number| Container::new(&node, &format!("c{number}")));
        let all = all.collect::<Result<Vec<_>>>()?;

        let watch = Stopwatch::start();
        let added = all_at_once(&all, |it| address(&add(&node, it)?))?;
        let adding = watch.elapsed();
        let distinct: BTreeSet<_> = added.iter().collect();
        ensure!(distinct.len() == PODS, "{} addresses for {PODS} pods", distinct.len());
        ensure!(pods(&daemon)?.len() == PODS);
        let some = [0, 57, 199].map(|number| (&all[number], added[(number + 1) % PODS]));
        for (from, to) in some {
            ensure!(from.host().ping(to, 3)?.perfect(), "{} to {to}", from.id);
        }

        let watch = Stopwatch::start();
        all_at_once(&all, |it| del(&node, &it.id))?;
        let removing = watch.elapsed();

        println!("{PODS} pods were added within {adding:?}, and removed within {removing:?}");
        ensure!(adding < SOON && removing < SOON, "{adding:?} {removing:?}");
        nothing_left(&node, &daemon)
    })
    .unwrap();
}
