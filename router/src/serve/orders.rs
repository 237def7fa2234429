//! Requests that change something: their bodies, and who is asked.

use std::future::Future;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::addresses::Sensible;
use super::connection::Service;
use super::passed::Passed;
use super::respond::{Answer, Trouble, json, within};
use super::route::Order;
use super::{Daemon, Limits, Refusal};

impl Order {
    /// Whether it is about addresses, or who has them.
    pub(super) fn is_of_addresses(self) -> bool {
        match self {
            Self::Connect | Self::Forget => false,
            Self::Allocate
            | Self::Claim
            | Self::Lookup
            | Self::Free
            | Self::Rmpeer
            | Self::Leave
            | Self::Expose
            | Self::Hide
            | Self::Plug
            | Self::Unplug
            | Self::Check
            | Self::Gc => true,
        }
    }

    /// A body that makes sense.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Connect | Self::Forget => r#"{"peers": ["10.0.0.1"]}"#,
            Self::Allocate | Self::Lookup => r#"{"id": "b07565b06c53"}"#,
            Self::Claim => r#"{"id": "b07565b06c53", "address": "10.32.0.2/12"}"#,
            Self::Free => r#"{"id": "b07565b06c53", "address": "10.32.0.2"}"#,
            Self::Rmpeer => r#"{"name": "host3"}"#,
            Self::Leave => "{}",
            Self::Expose | Self::Hide => r#"{"address": "10.32.0.1/12"}"#,
            Self::Plug | Self::Unplug | Self::Check => {
                r#"{"id": "b07565b06c53", "ifname": "eth0"}"#
            }
            Self::Gc => r#"{"network": "weft", "valid": []}"#,
        }
    }

    fn body(self, limits: &Limits) -> usize {
        if matches!(self, Self::Gc) {
            limits.gc_body
        } else if self.is_of_addresses() && !matches!(self, Self::Plug) {
            limits.address_body
        } else {
            limits.body
        }
    }

    fn patience(self, limits: &Limits) -> Duration {
        if self.is_of_addresses() { limits.address } else { limits.answer }
    }
}

impl<D: Daemon> Service<D> {
    pub(super) async fn obey(
        &self,
        order: Order,
        request: Request<Incoming>,
        passed: &Passed,
    ) -> Result<Answer, Trouble> {
        let (daemon, within) = (&self.daemon, order.patience(&self.limits));
        match order {
            Order::Connect => told(within, daemon.connect(self.body(order, request).await?)).await,
            Order::Forget => told(within, daemon.forget(self.body(order, request).await?)).await,
            Order::Allocate => {
                told(within, daemon.allocate(self.sensible(order, request).await?)).await
            }
            Order::Claim => told(within, daemon.claim(self.sensible(order, request).await?)).await,
            Order::Lookup => {
                told(within, daemon.lookup(self.sensible(order, request).await?)).await
            }
            Order::Free => told(within, daemon.free(self.sensible(order, request).await?)).await,
            Order::Rmpeer => {
                told(within, daemon.remove_peer(self.sensible(order, request).await?)).await
            }
            Order::Leave => {
                let api::Leave {} = self.body(order, request).await?;
                told(within, daemon.leave()).await
            }
            Order::Expose => told(within, daemon.expose(self.body(order, request).await?)).await,
            Order::Hide => told(within, daemon.hide(self.body(order, request).await?)).await,
            Order::Plug => {
                let asked = self.sensible(order, request).await?;
                told(within, daemon.plug(asked, passed.take())).await
            }
            Order::Unplug => {
                told(within, daemon.unplug(self.sensible(order, request).await?)).await
            }
            Order::Check => {
                let asked = self.sensible(order, request).await?;
                told(within, daemon.check(asked, passed.take())).await
            }
            Order::Gc => told(within, daemon.gc(self.sensible(order, request).await?)).await,
        }
    }

    async fn sensible<T: DeserializeOwned + Sensible>(
        &self,
        order: Order,
        request: Request<Incoming>,
    ) -> Result<T, Trouble> {
        let asked: T = self.body(order, request).await?;
        asked.check()?;
        Ok(asked)
    }

    async fn body<T: DeserializeOwned>(
        &self,
        order: Order,
        request: Request<Incoming>,
    ) -> Result<T, Trouble> {
        let max = order.body(&self.limits);
        let body = Limited::new(request.into_body(), max);
        let body = match timeout(self.limits.request, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) if why.is::<LengthLimitError>() => {
                return Err(Trouble::TooLong(max, order));
            }
            Ok(Err(why)) => return Err(Trouble::Half(why.to_string())),
            Err(_) => return Err(Trouble::Half(format!("within {:?}", self.limits.request))),
        };
        serde_json::from_slice(&body).map_err(|why| Trouble::Senseless(why.to_string(), order))
    }
}

async fn told<T: Serialize>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Refusal>>,
) -> Result<Answer, Trouble> {
    json(&within(limit, answer).await??)
}
