//! A thread that commits for a program which cannot wait, and all that waits in one go.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::{CommitError, Edit, Ledger};

/// Edits of one commit: submissions beyond it wait for the next one. That is some tens of milliseconds' work.
const MOST: usize = 4096;
/// After a failure it is tried again so much later, if nothing is submitted before.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end may take: a disk that hangs is not waited for.
const END: Duration = Duration::from_secs(2);

/// Owns a ledger, and commits what is submitted.
///
/// Each submission is answered once it is on disk, `(its seq, Ok(number of the commit))`, in the order in which they were made; those
/// that were committed together have one number. When a commit fails nothing is dropped: the first submission that waits is answered
/// with the reason, once for each reason, and all is tried again with the next submission or after a second. So from an `Err` to
/// the next `Ok` nothing becomes durable.
///
/// Dropping it commits what waits, and closes the ledger, within two seconds. A disk that hangs keeps the thread longer, alone.
///
/// # Thread-safety
/// Any thread may submit. Answers are told by the ledger's thread, which waits until they are taken.
#[derive(Debug)]
pub struct LedgerThread {
    submissions: Option<Sender<Submission>>,
    ended: Receiver<()>,
}

/// The ledger's thread has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the ledger's thread has ended by itself: please report this")]
pub struct Ended;

#[derive(Debug)]
struct Submission {
    seq: u64,
    edits: Vec<Edit>,
}

struct Work<F> {
    ledger: Ledger,
    answer: F,
    submissions: Receiver<Submission>,
    waiting: VecDeque<Submission>,
    /// Why nothing becomes durable, as it was told.
    told: Option<CommitError>,
}

impl LedgerThread {
    /// Starts it. `answer` is called for each submission, as told above.
    ///
    /// # Errors
    /// The system has no thread for us.
    pub fn start(
        ledger: Ledger,
        answer: impl FnMut(u64, Result<u64, CommitError>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (submissions, submitted) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let work =
            Work { ledger, answer, submissions: submitted, waiting: VecDeque::new(), told: None };
        thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            work.run();
            drop(ending);
        })?;
        Ok(Self { submissions: Some(submissions), ended })
    }

    /// Has these edits made, after those that were submitted before.
    ///
    /// # Errors
    /// The thread has ended, which it does not by itself.
    pub fn submit(&self, seq: u64, edits: Vec<Edit>) -> Result<(), Ended> {
        let submissions = self.submissions.as_ref().ok_or(Ended)?;
        submissions.send(Submission { seq, edits }).map_err(|_| Ended)
    }
}

impl Drop for LedgerThread {
    fn drop(&mut self) {
        self.submissions = None;
        // That nothing is sent any more is what is waited for.
        let _ended = self.ended.recv_timeout(END);
    }
}

impl<F: FnMut(u64, Result<u64, CommitError>)> Work<F> {
    fn run(mut self) {
        loop {
            let next = if self.waiting.is_empty() {
                self.submissions.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if self.told.is_some() {
                self.submissions.recv_timeout(RETRY)
            } else {
                Err(RecvTimeoutError::Timeout)
            };
            let over = matches!(next, Err(RecvTimeoutError::Disconnected));
            self.waiting.extend(next);
            self.waiting.extend(self.submissions.try_iter());
            let progress = self.commit();
            if over && (self.waiting.is_empty() || !progress) {
                return;
            }
        }
    }

    /// Commits as many submissions as fit. Whether that worked.
    fn commit(&mut self) -> bool {
        let Some(first) = self.waiting.front().map(|it| it.seq) else { return true };
        let mut room = MOST;
        let fits = |it: &&Submission| {
            let fits = room == MOST || it.edits.len() <= room;
            room = room.saturating_sub(it.edits.len());
            fits
        };
        let count = self.waiting.iter().take_while(fits).count();
        let edits = self.waiting.iter().take(count).flat_map(|it| &it.edits);
        match self.ledger.commit_all(edits) {
            Ok(number) => {
                self.told = None;
                let done = self.waiting.drain(..count).map(|it| it.seq);
                done.for_each(|seq| (self.answer)(seq, Ok(number)));
                true
            }
            Err(why) => {
                if self.told.as_ref() != Some(&why) {
                    (self.answer)(first, Err(why.clone()));
                }
                self.told = Some(why);
                false
            }
        }
    }
}
