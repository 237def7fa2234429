use std::io::IoSlice;

use proptest::prelude::*;

use super::*;

/// Octets of a datagram.
const SIZE: usize = 10;

#[test]
fn what_is_not_refused_is_sent_whole() {
    let mut bench = Bench::new(64);

    bench.send(&[64, 1, 7, 64]);

    assert_eq!(bench.calls(), [[64, 1, 7, 64]]);
    assert_eq!((bench.refusals, bench.missing()), (Refusals::default(), 0));
}

#[test]
fn a_lane_without_runs_sends_each_datagram_alone_whatever_comes_first() {
    let mut bench = Bench::new(1);

    bench.send(&[1, 40, 1, 2]);

    assert!(bench.calls().iter().flatten().all(|datagrams| *datagrams == 1));
    assert_eq!(bench.missing(), 0);
    assert_eq!(bench.refusals, Refusals { runs: 2, ..Refusals::default() });
    let calls: Vec<_> = bench.calls().iter().map(Vec::len).collect();
    assert_eq!(calls, [1, 32, 8, 1, 2], "but not each in a call of its own");
}

#[test]
fn a_device_that_refuses_runs_is_asked_once_and_never_again() {
    for errno in [libc::EIO, libc::EINVAL, libc::EMSGSIZE] {
        let mut bench = Bench::new(64);
        bench.socket().refuse(errno, 1, usize::MAX);

        bench.send(&[44, 44]);
        let (asked, runs) = (bench.refused(), bench.refusals.runs);
        bench.send(&[44, 1, 44]);

        assert_eq!((asked, runs), (6, 2), "44, 22, 11, 6, 3, 2");
        assert_eq!((bench.refused(), bench.refusals.runs), (6, 4), "not once more");
        assert_eq!(bench.missing(), 0);
    }
}

#[test]
fn a_device_that_refuses_long_runs_is_given_shorter_ones() {
    let mut bench = Bench::new(120);
    bench.socket().refuse(libc::EINVAL, 64, usize::MAX);

    bench.send(&[120]);
    bench.send(&[120, 60]);

    assert_eq!(bench.calls(), [&[1][..], &[60, 59], &[60, 60], &[60]]);
    let counted = Refusals { runs: 2, einval: 1, ..Refusals::default() };
    assert_eq!((bench.refusals, bench.missing()), (counted, 0));
}

#[test]
fn a_path_that_is_too_narrow_is_told_at_once_and_costs_no_runs() {
    // As since Linux 6.14, and as before.
    for of_runs in [libc::EMSGSIZE, libc::EINVAL] {
        let mut bench = Bench::new(64);
        bench.socket().refuse(of_runs, 1, 1);
        bench.socket().refuse(libc::EMSGSIZE, 0, 1);

        bench.send(&[44]);
        bench.send(&[44]);

        assert_eq!(bench.outcomes, [Err(SendError::TooBig.into()), Ok(())]);
        assert_eq!((bench.calls(), bench.refusals.runs), (vec![vec![44]], 0));
    }
}

#[test]
fn an_address_that_has_left_costs_no_runs() {
    let mut bench = Bench::new(64);
    bench.socket().refuse(libc::EINVAL, 0, 2);

    bench.send(&[44]);
    bench.send(&[44]);

    assert_eq!(bench.outcomes, [Err(SendError::NoRoute.into()), Ok(())]);
    assert_eq!(bench.calls(), [[44]]);
}

#[test]
fn a_moment_without_memory_costs_nothing_and_is_soon_forgotten() {
    let mut bench = Bench::new(64);
    bench.socket().refuse(libc::ENOBUFS, 20, 2);

    bench.send(&[44]);
    bench.send(&[44]);

    assert_eq!(bench.calls(), [&[1][..], &[11, 11, 11, 10], &[44]]);
    assert_eq!(bench.missing(), 0);
}

#[test]
fn a_datagram_that_finds_no_memory_is_tried_once_more() {
    let mut bench = Bench::new(64);
    bench.socket().refuse(libc::ENOBUFS, 0, 1);

    bench.send(&[1]);
    bench.socket().refuse(libc::ENOBUFS, 0, 2);
    bench.send(&[1]);

    assert_eq!(bench.outcomes, [Ok(()), Err(SendError::Full.into())]);
    assert_eq!(bench.refusals, Refusals { enobufs: 2, ..Refusals::default() });
}

#[test]
fn without_any_memory_a_run_is_given_up_after_three_calls() {
    let mut bench = Bench::new(64);
    bench.socket().refuse(libc::ENOBUFS, 0, usize::MAX);

    bench.send(&[44]);

    assert_eq!(bench.outcomes, [Err(SendError::Full.into())]);
    assert_eq!(bench.refused(), 3, "the run, its first datagram, and that once more");
}

#[test]
fn a_full_socket_is_not_asked_again() {
    let mut bench = Bench::new(64);
    bench.socket().refuse(libc::EAGAIN, 0, 1);

    bench.send(&[44, 3]);

    assert_eq!(bench.outcomes, [Err(SendError::Full.into()), Ok(())]);
    assert_eq!((bench.refused(), bench.refusals), (1, Refusals::default()));
}

#[test]
fn what_was_sent_before_a_failure_is_told() {
    let mut bench = Bench::new(64);
    bench.socket().refuse(libc::EIO, 22, 1);
    bench.socket().fail_after(1, libc::EAGAIN);

    bench.send(&[44]);

    assert_eq!(bench.outcomes, [Err(Unsent { sent: 1, why: SendError::Full })]);
    assert_eq!(bench.missing(), 43);
}

proptest! {
    #[test]
    fn whatever_is_refused_each_datagram_is_sent_once_in_order_or_told(
        runs in prop::collection::vec(1..120usize, 1..20),
        run_len in 1..120usize,
        script in prop::collection::vec((0..7usize, 0..60usize, 1..9usize), 0..8),
    ) {
        let errnos = [
            libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::ENOBUFS, libc::EAGAIN, libc::EINTR,
            libc::ENETUNREACH,
        ];
        let mut bench = Bench::new(run_len);
        for (errno, above, times) in script {
            bench.socket().refuse(errnos[errno], above, times);
        }

        bench.send(&runs);

        let expected = runs.iter().zip(&bench.outcomes).enumerate().flat_map(|(n, (len, outcome))| {
            let sent = outcome.map_or_else(|unsent| unsent.sent, |()| *len);
            (0..sent).map(move |at| datagram(n, at))
        });
        prop_assert_eq!(&bench.lane.socket.sent, &expected.collect::<Vec<_>>());
        prop_assert_eq!(bench.outcomes.len(), runs.len());
    }
}

/// A lane and what came of what was sent through it.
struct Bench {
    lane: Lane<Script>,
    refusals: Refusals,
    outcomes: Vec<Result<(), Unsent>>,
    offered: usize,
}

/// A socket that refuses as it is told.
#[derive(Debug, Default)]
struct Script {
    /// Messages of more datagrams than the second are refused with the first, so many times.
    troubles: Vec<(i32, usize, usize)>,
    /// After so many messages have passed there is one more failure.
    fails_after: Option<(usize, i32)>,
    refused: usize,
    /// How many datagrams the messages of a call had.
    calls: Vec<Vec<usize>>,
    sent: Vec<Vec<u8>>,
}

impl Bench {
    fn new(run_len: usize) -> Self {
        let lane = Lane::new(Script::default(), run_len);
        Self { lane, refusals: Refusals::default(), outcomes: Vec::new(), offered: 0 }
    }

    fn socket(&mut self) -> &mut Script {
        &mut self.lane.socket
    }

    /// Sends runs of so many datagrams in one call.
    fn send(&mut self, runs: &[usize]) {
        let octets: Vec<Vec<_>> = (0..).zip(runs).map(|(n, len)| content(n, *len)).collect();
        let parts: Vec<Vec<_>> =
            octets.iter().map(|it| it.iter().map(|it| IoSlice::new(it)).collect()).collect();
        let to = ([10, 0, 0, 1], 6784).into();
        let messages: Vec<_> =
            parts.iter().map(|parts| Message { to, parts, size: SIZE }).collect();
        let mut told = Vec::new();

        self.lane.send(&messages, &mut self.refusals, &mut |n, outcome| told.push((n, outcome)));

        assert!(told.iter().map(|(n, _)| *n).eq(0..runs.len()), "each is told of, in order");
        self.outcomes.extend(told.into_iter().map(|(_, outcome)| outcome));
        self.offered += runs.iter().sum::<usize>();
    }

    fn calls(&self) -> Vec<Vec<usize>> {
        self.lane.socket.calls.clone()
    }

    fn refused(&self) -> usize {
        self.lane.socket.refused
    }

    fn missing(&self) -> usize {
        self.offered - self.lane.socket.sent.len()
    }
}

/// The datagrams of a run; the last is shorter.
fn content(run: usize, len: usize) -> Vec<Vec<u8>> {
    let mut run: Vec<_> = (0..len).map(|at| datagram(run, at)).collect();
    run.last_mut().unwrap().truncate(SIZE - 1);
    run
}

fn datagram(run: usize, at: usize) -> Vec<u8> {
    let octet = |n: usize| u8::try_from(n).unwrap();
    [vec![octet(run), octet(at)], vec![0; SIZE - 2]].concat()
}

impl Script {
    fn refuse(&mut self, errno: i32, above: usize, times: usize) {
        self.troubles.push((errno, above, times));
    }

    fn fail_after(&mut self, messages: usize, errno: i32) {
        self.fails_after = Some((messages, errno));
    }

    /// The errno that a message meets, which is used up when it is the first of its call.
    fn trouble(&mut self, datagrams: usize, first: bool) -> Option<i32> {
        if let Some((0, errno)) = self.fails_after {
            self.fails_after = self.fails_after.filter(|_| !first);
            return Some(errno);
        }
        let next = |it: &&mut (i32, usize, usize)| datagrams > it.1 && it.2 > 0;
        let (errno, _, times) = self.troubles.iter_mut().find(next)?;
        *times -= usize::from(first);
        Some(*errno)
    }

    fn end(&mut self, call: Vec<usize>, error: Option<io::Error>) -> (usize, Option<io::Error>) {
        let sent = call.len();
        if sent > 0 {
            self.calls.push(call);
        }
        self.refused += usize::from(error.is_some());
        (sent, error)
    }
}

impl SendMany for Script {
    fn send_many(&mut self, messages: &[Message<'_>]) -> (usize, Option<io::Error>) {
        let mut call = Vec::new();
        for message in messages {
            if let Some(errno) = self.trouble(message.count(), call.is_empty()) {
                // As sendmmsg(2): the error of a later message comes with the next call.
                let error = call.is_empty().then(|| io::Error::from_raw_os_error(errno));
                return self.end(call, error);
            }
            call.push(message.count());
            for datagram in message.pieces(1) {
                let mut octets: Vec<_> =
                    datagram.parts.iter().flat_map(|part| part.iter().copied()).collect();
                octets.resize(SIZE, 0);
                self.sent.push(octets);
            }
            if let Some((left, _)) = &mut self.fails_after {
                *left -= 1;
            }
        }
        self.end(call, None)
    }
}
