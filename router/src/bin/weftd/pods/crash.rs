//! Dying between two steps, for tests of what becomes of what was begun.

/// The variable that names the step.
#[cfg(debug_assertions)]
const AT: &str = "WEFTD_CRASH_AT";

/// Ends the process at once if this is the step that was named; never in a release.
pub(super) fn point(step: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os(AT).is_some_and(|it| it == step) {
        eprintln!("weftd: {AT}={step}");
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = step;
}
