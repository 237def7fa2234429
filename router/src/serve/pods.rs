//! What can be asked about pods.

use std::future::Future;
use std::os::fd::OwnedFd;

use api::{Check, Gc, Plug, Plugged, Pods as Answer, Problem, Unplug};

use super::addresses::Sensible;
use super::{Because, Refusal};

/// The longest id of a container: it is a part of the id by which its addresses are leased.
const ID_MAX: usize = 200;
/// The longest path that is shown.
const PATH_MAX: usize = 4096;

/// What is plugged into the bridge.
///
/// Each request ends within 12 s, in what was asked for or in a [`Refusal`]: [`Because::Forbidden`] where something else is
/// there, no address is free, or a check finds something missing; [`Because::NotReady`] where nothing can be plugged in yet;
/// [`Because::Absent`] for what was never plugged in. What was begun is ended although a future is dropped.
///
/// Ids, interfaces' names and paths are such as the CNI specification allows: others are refused before.
pub trait Pods: Send + Sync + 'static {
    /// Plugs an interface into a pod, whose network namespace may come as a descriptor.
    fn plug(
        &self,
        request: Plug,
        netns: Option<OwnedFd>,
    ) -> impl Future<Output = Result<Plugged, Refusal>> + Send;

    /// Unplugs interfaces; says which. None need be there.
    fn unplug(&self, request: Unplug) -> impl Future<Output = Result<Answer, Refusal>> + Send;

    /// Whether an interface is as it was plugged in.
    fn check(
        &self,
        request: Check,
        netns: Option<OwnedFd>,
    ) -> impl Future<Output = Result<Plugged, Refusal>> + Send;

    /// Unplugs all of a network but some; says which.
    fn gc(&self, request: Gc) -> impl Future<Output = Result<Answer, Refusal>> + Send;

    /// All that is plugged in.
    fn pods(&self) -> impl Future<Output = Result<Answer, Refusal>> + Send;
}

impl Sensible for Plug {
    fn check(&self) -> Result<(), Refusal> {
        let what = "plug the pod in";
        container(what, &self.id)?;
        interface(what, &self.ifname)?;
        path(what, self.netns.as_deref())?;
        let subnet = self.addresses.subnet.filter(|it| *it != it.network());
        subnet.map_or(Ok(()), |it| {
            let what_to_do = format!("is it {}?", it.network());
            Err(senseless(what, format!("{it} is no subnet"), &what_to_do))
        })
    }
}

impl Sensible for Unplug {
    fn check(&self) -> Result<(), Refusal> {
        let what = "unplug the pod";
        container(what, &self.id)?;
        self.ifname.as_deref().map_or(Ok(()), |it| interface(what, it))
    }
}

impl Sensible for Check {
    fn check(&self) -> Result<(), Refusal> {
        let what = "check the pod";
        container(what, &self.id)?;
        interface(what, &self.ifname)?;
        path(what, self.netns.as_deref())
    }
}

impl Sensible for Gc {
    fn check(&self) -> Result<(), Refusal> {
        if !is_name(&self.network) {
            let why = format!("{:?} is no name of a network", self.network);
            return Err(senseless("unplug what is gone", why, "give that of its configuration"));
        }
        // Whoever is not known as it is written here would be taken for gone.
        self.valid.iter().try_for_each(|it| {
            container("unplug what is gone", &it.id)?;
            interface("unplug what is gone", &it.ifname)
        })
    }
}

/// As the CNI specification has it: `[A-Za-z0-9][A-Za-z0-9_.-]*`.
fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric());
    let all = text.bytes().all(|it| it.is_ascii_alphanumeric() || b"_.-".contains(&it));
    first && all && text.len() <= ID_MAX
}

fn container(what: &str, id: &str) -> Result<(), Refusal> {
    if is_name(id) {
        return Ok(());
    }
    let why = format!("{id:?} is no container's id");
    let what_to_do =
        "give one of 1 to 200 letters, digits, _, . and -, the first a letter or a digit";
    Err(senseless(what, why, what_to_do))
}

/// As the kernel has it (`dev_valid_name`), and no pattern of names.
fn interface(what: &str, name: &str) -> Result<(), Refusal> {
    let odd =
        |it: char| it == '/' || it == ':' || it == '%' || it.is_whitespace() || it.is_control();
    if (1..=15).contains(&name.len()) && name != "." && name != ".." && !name.contains(odd) {
        return Ok(());
    }
    let why = format!("{name:?} is no interface's name");
    Err(senseless(what, why, "give one of 1 to 15 octets without / and : and white space, as eth0"))
}

fn path(what: &str, path: Option<&str>) -> Result<(), Refusal> {
    let sound = |it: &str| it.len() <= PATH_MAX && it.starts_with('/') && !it.contains('\0');
    if path.is_none_or(sound) {
        return Ok(());
    }
    let why = "the path of the network namespace is not absolute, or too long".to_owned();
    Err(senseless(what, why, "give one as /run/netns/NAME or /proc/PID/ns/net"))
}

fn senseless(what: &str, why: String, what_to_do: &str) -> Refusal {
    let problem =
        Problem { what: format!("cannot {what}"), why, what_to_do: what_to_do.to_owned() };
    Refusal { because: Because::Senseless, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for good in ["a", "0", "k8s.io-b07565b06c53", "A_b.C-d"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(ID_MAX + 1);
        for bad in ["", ".", "..", "-a", "_a", "a/b", "../../etc", "a b", "a\0", "ä", &long] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn interfaces_are_named_as_the_kernel_wants() {
        for good in ["eth0", "a", "net1.100", "0123456789abcde"] {
            assert!(interface("plug", good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "veth%d", "0123456789abcdef"] {
            assert!(interface("plug", bad).is_err(), "{bad}");
        }
    }
}
