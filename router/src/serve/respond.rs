//! From a request to its answer: what the daemon says, or a problem.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use api::Problem;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::Service;
use super::look::Look;
use super::passed::Passed;
use super::route::{Astray, Door, Form, Order, Page, Route, route};
use super::{Because, Daemon, Gone, Refusal, sheets};

/// Who answers.
const NAME: HeaderValue = HeaderValue::from_static(concat!("weftd/", env!("CARGO_PKG_VERSION")));
/// The longest part of a path that an error repeats.
const SHOWN: usize = 80;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    code: StatusCode,
    /// `None` without a body.
    kind: Option<&'static str>,
    body: Bytes,
    allow: Option<Method>,
}

impl<D: Daemon> Service<D> {
    /// Answers, whatever is asked. The first of `with` is set when it may take as long as a journal; the other is what came
    /// with the request.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        with: (&AtomicBool, &Passed),
    ) -> Response<Full<Bytes>> {
        let name = name(&request);
        let answer = match route(self.door, request.method(), request.uri().path()) {
            Ok(route) => self.perform(route, request, with).await,
            Err(astray) => Ok(self.astray(astray, &request)),
        };
        answer.unwrap_or_else(|trouble| trouble.answer(&name)).into_response()
    }

    async fn perform(
        &self,
        route: Route,
        request: Request<Incoming>,
        (journal, passed): (&AtomicBool, &Passed),
    ) -> Result<Answer, Trouble> {
        match route {
            Route::Health => Ok(Answer::empty()),
            Route::Readiness => Ok(readiness(&*self.look().await?)),
            Route::Page(page, form) => self.page(page, form).await,
            Route::Fdb(form) => self.fdb(form).await,
            Route::Journal => {
                journal.store(true, Relaxed);
                let octets = within(self.limits.journal, self.daemon.journal()).await??;
                Ok(Answer::with("application/octet-stream", octets))
            }
            Route::Leases => {
                let leases = within(self.limits.answer, self.daemon.leases()).await??;
                // There may be a hundred thousand.
                let made = spawn_blocking(move || json(&leases)).await;
                made.map_err(|why| Trouble::Broken(why.to_string()))?
            }
            Route::Pods => {
                let pods = within(self.limits.answer, self.daemon.pods()).await??;
                json(&pods)
            }
            Route::Order(order) => self.obey(order, request, passed).await,
        }
    }

    async fn look(&self) -> Result<Arc<Look>, Trouble> {
        Ok(within(self.limits.answer, self.daemon.look()).await??)
    }

    async fn page(&self, page: Page, form: Form) -> Result<Answer, Trouble> {
        let look = self.look().await?;
        // What is measured is told before the node is ready, too.
        let ready = look.ready || page == Page::Metrics;
        let kind = match (page, form) {
            (Page::Metrics, _) => METRICS,
            (Page::Report, _) | (_, Form::Json) => JSON,
            (_, Form::Text) => TEXT,
        };
        let made = self.sheets.page(look, (page, form), sheets::page);
        let body = within(self.limits.answer, made).await?.map_err(Trouble::Broken)?;
        Ok(Answer { code: code_of(ready), ..Answer::with(kind, body) })
    }

    async fn fdb(&self, form: Form) -> Result<Answer, Trouble> {
        let fdb = within(self.limits.answer, self.daemon.fdb()).await??;
        let ready = fdb.look.ready;
        let kind = match form {
            Form::Json => JSON,
            Form::Text => TEXT,
        };
        let made = self.fdb_sheets.page(fdb, form, sheets::fdb);
        let body = within(self.limits.answer, made).await?.map_err(Trouble::Broken)?;
        Ok(Answer { code: code_of(ready), ..Answer::with(kind, body) })
    }

    fn astray(&self, astray: Astray, request: &Request<Incoming>) -> Answer {
        let path = shown(request.uri().path());
        let what = format!("{} is not answered", name(request));
        match astray {
            Astray::OtherMethod(method) => {
                let why = format!("{path} is for {method}");
                let what_to_do = format!("ask with {method}");
                let code = StatusCode::METHOD_NOT_ALLOWED;
                let answer = problem(code, &Problem { what, why, what_to_do });
                Answer { allow: Some(method), ..answer }
            }
            Astray::Nothing => {
                let there = route(Door::Unix, &Method::POST, path).is_ok();
                let (why, what_to_do) = if there {
                    ("over TCP nothing is changed".into(), "ask over the unix socket, as weft does")
                } else {
                    (
                        format!("there is no {path}"),
                        "ask for /v1/status; docs/API.md lists the rest",
                    )
                };
                let what_to_do = what_to_do.to_owned();
                problem(StatusCode::NOT_FOUND, &Problem { what, why, what_to_do })
            }
        }
    }
}

/// Why there is no answer of the daemon's.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It refuses.
    Refused(Refusal),
    /// It is stopping.
    Gone,
    /// It said nothing for so long.
    Late(Duration),
    /// What it said cannot be written.
    Broken(String),
    /// The request's body is longer than this.
    TooLong(usize, Order),
    /// The request's body did not come whole.
    Half(String),
    /// The request's body is not what it should be.
    Senseless(String, Order),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Trouble {
    fn answer(self, name: &str) -> Answer {
        let what = format!("{name} is not answered");
        let (code, why, what_to_do) = match self {
            Self::Refused(Refusal { because, problem: told }) => {
                return problem(code(because), &told);
            }
            Self::Gone => (
                StatusCode::SERVICE_UNAVAILABLE,
                "weftd is stopping".to_owned(),
                "ask again when it has started".to_owned(),
            ),
            Self::Late(limit) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("weftd's control loop said nothing for {limit:?}"),
                "see its log; what was asked for may still be done".to_owned(),
            ),
            Self::Broken(why) => {
                (StatusCode::INTERNAL_SERVER_ERROR, why, "see weftd's log".to_owned())
            }
            Self::TooLong(max, order) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("its body has more than {max} octets"),
                if order.is_of_addresses() {
                    such_as(order)
                } else {
                    "name fewer peers at once".to_owned()
                },
            ),
            Self::Half(why) => (
                StatusCode::BAD_REQUEST,
                format!("its body did not come whole: {why}"),
                "ask again".to_owned(),
            ),
            Self::Senseless(why, order) => {
                (StatusCode::BAD_REQUEST, format!("its body makes no sense: {why}"), such_as(order))
            }
        };
        problem(code, &Problem { what, why, what_to_do })
    }
}

fn such_as(order: Order) -> String {
    format!("send JSON such as {}; see docs/API.md", order.example())
}

fn code(because: Because) -> StatusCode {
    match because {
        Because::Senseless => StatusCode::BAD_REQUEST,
        Because::Absent => StatusCode::NOT_FOUND,
        Because::Forbidden => StatusCode::CONFLICT,
        Because::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Because::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Answer {
    fn empty() -> Self {
        Self { code: StatusCode::OK, kind: None, body: Bytes::new(), allow: None }
    }

    fn with(kind: &'static str, body: Bytes) -> Self {
        Self { kind: Some(kind), body, ..Self::empty() }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(SERVER, NAME);
        if let Some(kind) = self.kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        // A method is a header's value by its grammar.
        if let Some(allow) = self.allow.and_then(|it| HeaderValue::from_str(it.as_str()).ok()) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// As Prometheus knows its text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn code_of(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub(super) fn json(of: &impl Serialize) -> Result<Answer, Trouble> {
    let body = serde_json::to_vec(of).map_err(|why| Trouble::Broken(why.to_string()))?;
    Ok(Answer::with(JSON, body.into()))
}

fn problem(code: StatusCode, problem: &Problem) -> Answer {
    // Three texts: they can be written. Without them the code says enough.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    Answer { code, ..Answer::with(JSON, body.into()) }
}

fn readiness(look: &Look) -> Answer {
    if look.ready {
        return Answer::empty();
    }
    let why = match look.waiting_for.as_slice() {
        [] => "it is starting".to_owned(),
        steps => format!("it waits for {}", steps.join(", ")),
    };
    let what_to_do = "wait, or see its log if it stays so".to_owned();
    let told = Problem { what: "weftd is not ready".to_owned(), why, what_to_do };
    problem(StatusCode::SERVICE_UNAVAILABLE, &told)
}

pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = T>,
) -> Result<T, Trouble> {
    timeout(limit, answer).await.map_err(|_| Trouble::Late(limit))
}

fn name(request: &Request<Incoming>) -> String {
    format!("{} {}", shown(request.method().as_str()), shown(request.uri().path()))
}

fn shown(text: &str) -> &str {
    text.char_indices().nth(SHOWN).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}
