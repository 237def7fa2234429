//! What is told when something is not done, and by which code.

use rscni_types::error::Error;

// The specification leaves codes from 100 on to plugins.

/// Something else forbids it: the interface is there already, or no address is free.
pub const CONFLICT: u32 = 100;
/// With CHECK: it is not as ADD has said.
pub const NOT_AS_ADDED: u32 = 101;
/// The daemon failed, or answered what is not understood.
pub const DAEMON_FAILED: u32 = 102;
/// The delegated IPAM plugin failed and did not say why, or said what is not understood.
pub const IPAM_FAILED: u32 = 103;

/// The specification's codes of which more is told than the type has room for.
const UNKNOWN_CONTAINER: u32 = 3;
const INVALID_CONFIG: u32 = 7;
const TRY_AGAIN_LATER: u32 = 11;
const NOT_AVAILABLE: u32 = 50;

/// What the daemon did not do.
pub(crate) fn of_daemon(error: &api::Error) -> Error {
    let code = match error {
        // Asking again does no harm: the daemon goes by container and interface.
        api::Error::Unreached { .. } | api::Error::Unanswered(_) => TRY_AGAIN_LATER,
        api::Error::Refused { code: 400 | 413, .. } => INVALID_CONFIG,
        api::Error::Refused { code: 404, .. } => UNKNOWN_CONTAINER,
        api::Error::Refused { code: 409, .. } => CONFLICT,
        api::Error::Refused { code: 503, .. } => TRY_AGAIN_LATER,
        api::Error::Refused { .. } | api::Error::Sink(_) => DAEMON_FAILED,
    };
    told(code, &error.problem())
}

/// Nothing can be added: the daemon is not there, or not ready.
pub(crate) fn not_available(problem: &api::Problem) -> Error {
    told(NOT_AVAILABLE, problem)
}

/// Several errors as one: the first one's code, and what all of them say.
pub(crate) fn all_of(errors: Vec<Error>) -> Result<(), Error> {
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(()) };
    let others: String = errors.map(|error| format!("; besides: {error}")).collect();
    if others.is_empty() {
        return Err(first);
    }
    let details = format!("{}{others}", first.details());
    Err(Error::Custom(u32::from(&first), first.msg().to_owned(), details))
}

fn told(code: u32, problem: &api::Problem) -> Error {
    let line = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        api::printable(&words.join(" ")).into_owned()
    };
    let parts = [line(&problem.why), line(&problem.what_to_do)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Error::Custom(code, line(&problem.what), parts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> api::Error {
        let problem = api::Problem {
            what: "cannot plug eth0".into(),
            why: "it is\nthere".into(),
            what_to_do: "remove it".into(),
        };
        api::Error::Refused { code, problem }
    }

    #[test]
    fn each_answer_of_the_daemon_has_a_code() {
        for (answer, code) in [
            (400, 7),
            (404, 3),
            (409, 100),
            (413, 7),
            (500, 102),
            (503, 11),
            (418, 102),
            (405, 102),
        ] {
            let error = of_daemon(&refused(answer));

            assert_eq!(u32::from(&error), code, "{answer}");
            assert_eq!(error.msg(), "cannot plug eth0");
            assert_eq!(error.details(), "it is there: remove it");
        }
    }

    #[test]
    fn of_several_errors_the_first_has_the_code_and_none_is_lost() {
        let io = || Error::IOFailure("no room".to_owned());

        assert_eq!(all_of(vec![]), Ok(()));
        assert_eq!(all_of(vec![io()]), Err(io()));
        let both = all_of(vec![of_daemon(&refused(503)), io()]).unwrap_err();
        assert_eq!(u32::from(&both), 11);
        assert_eq!(both.details(), "it is there: remove it; besides: I/O failure; no room");
    }
}
