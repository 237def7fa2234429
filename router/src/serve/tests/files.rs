//! The socket's file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::*;
use crate::serve::listen::unix;

#[tokio::test]
async fn the_socket_is_its_owners_in_a_directory_for_all() {
    let there = There::with(alone()).await;

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    assert_eq!(mode(&there.socket), 0o600);
    assert_eq!(mode(there.socket.parent().unwrap()), 0o755);
}

#[tokio::test]
async fn the_socket_of_a_dead_daemon_is_replaced() {
    let dir = Dir::new();
    let path = dir.path().join("weft.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());

    let (_listener, file) = unix(&path).await.unwrap();

    assert!(UnixStream::connect(&path).await.is_ok());
    drop(file);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_live_daemon_stays() {
    let there = There::with(alone()).await;
    let listen =
        Listen { socket: there.socket.clone(), tcp: Vec::new(), limits: Limits::default() };

    let refused = Server::start(listen, Arc::clone(&there.daemon)).await.unwrap_err();

    let path = there.socket.display();
    let expected = format!(
        "cannot listen on {path}: another weftd answers there: stop it, or give another --socket"
    );
    assert_eq!(refused.to_string(), expected);
    assert_eq!(there.unix(&get("/healthz")).await.code, 200);
}

#[tokio::test]
async fn a_live_daemon_that_accepts_nobody_is_live() {
    let dir = Dir::new();
    let path = dir.path().join("weft.sock");
    let deaf = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    deaf.listen(0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();

    let refused = unix(&path).await.unwrap_err();

    assert!(matches!(refused, ListenError::Taken { .. }), "{refused}");
}

#[tokio::test]
async fn what_is_no_socket_stays() {
    let dir = Dir::new();
    let path = dir.path().join("weft.sock");
    fs::write(&path, "mine").unwrap();

    let refused = unix(&path).await.unwrap_err();

    assert!(matches!(refused, ListenError::NoSocket { .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[tokio::test]
async fn a_path_that_cannot_be_is_told() {
    let dir = Dir::new();
    fs::write(dir.path().join("file"), "").unwrap();
    let long = dir.path().join("x".repeat(200));
    for path in [long, dir.path().join("file/weft.sock")] {
        let refused = unix(&path).await.unwrap_err();

        assert!(matches!(refused, ListenError::Unix { .. }), "{refused}");
        assert!(refused.to_string().contains("give a --socket of at most 107 characters"));
    }
}

#[tokio::test]
async fn the_socket_that_another_has_put_there_since_stays() {
    let dir = Dir::new();
    let path = dir.path().join("weft.sock");
    let (_listener, file) = unix(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let (_other, _file) = unix(&path).await.unwrap();

    drop(file);

    assert!(path.exists());
}

#[tokio::test]
async fn of_many_that_start_at_once_one_listens() {
    let dir = Dir::new();
    let path = dir.path().join("weft.sock");
    drop(UnixListener::bind(&path).unwrap());

    let starting = (0..8).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { unix(&path).await })
    });
    let mut listening = Vec::new();
    for start in starting.collect::<Vec<_>>() {
        listening.extend(start.await.unwrap().ok());
    }

    assert_eq!(listening.len(), 1);
    assert!(UnixStream::connect(&path).await.is_ok());
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_and_no_socket_is_left() {
    let there = There::with(alone()).await;
    let dir = Dir::new();
    let socket = dir.path().join("weft.sock");
    let tcp = there.server.tcp().to_vec();
    let addr = tcp[0];
    let listen = Listen { socket: socket.clone(), tcp, limits: Limits::default() };

    let refused = Server::start(listen, Arc::clone(&there.daemon)).await.unwrap_err();

    let expected = format!(
        "cannot listen on {addr} (TCP): Address already in use (os error 98): give another --http-addr (WEAVE_HTTP_ADDR)"
    );
    assert_eq!(refused.to_string(), expected);
    assert!(!socket.exists());
}
