//! The proxy does to connections what networks do, and counts it.

#![allow(
    clippy::unwrap_used,
    reason = "a test may end where it stands, its helpers too"
)]

use std::io::ErrorKind;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use hafnium_testkit::process::wait_until;
use hafnium_testkit::proxy::{Counters, Direction, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that sends everything back, and a proxy before it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = connection.split();
                let _ended = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    proxy
}

async fn open(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    let mut reply = vec![0; request.len()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// Neither data, nor end of file, nor an error for as long as is waited.
async fn silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(700), stream.read(&mut byte))
        .await
        .is_err()
}

async fn counted(proxy: &Proxy, enough: impl Fn(Counters) -> bool) -> Counters {
    wait_until("the proxy's counters", Duration::from_secs(2), async || {
        let counters = proxy.counters();
        if enough(counters) {
            Ok(counters)
        } else {
            Err(counters.to_string())
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn it_forwards_both_ways_and_counts() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    assert_eq!(ask(&mut stream, b"hello").await.unwrap(), b"hello");
    let large: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut read, mut write) = stream.split();
    let mut back = vec![0; large.len()];
    let (sent, received) = tokio::join!(write.write_all(&large), read.read_exact(&mut back));
    sent.unwrap();
    received.unwrap();
    assert!(back == large);
    let counters = counted(&proxy, |c| c.to_client == 1_000_005).await;
    assert_eq!(
        (counters.accepted, counters.to_server, counters.swallowed_replies),
        (1, 1_000_005, 0)
    );
}

#[tokio::test]
async fn a_closed_client_closes_the_server_and_the_reverse() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    ask(&mut stream, b"x").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_black_hole_sends_no_reset_and_no_end_of_file() {
    let proxy = echo().await;
    let mut old = open(&proxy).await;
    ask(&mut old, b"before").await.unwrap();
    proxy.black_hole();
    let mut new = open(&proxy).await;
    old.write_all(b"lost").await.unwrap();
    new.write_all(b"lost too").await.unwrap();
    assert!(silent(&mut old).await, "an open connection goes silent");
    assert!(silent(&mut new).await, "a new one is accepted and silent");
    old.write_all(b"still open").await.unwrap();
    let counters = counted(&proxy, |c| c.swallowed_requests == 22).await;
    println!("{counters}");
    assert_eq!((counters.to_server, counters.resets), (6, 0));

    proxy.heal();
    assert_eq!(
        old.read(&mut [0]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        new.read(&mut [0]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(ask(&mut open(&proxy).await, b"after").await.unwrap(), b"after");
}

#[tokio::test]
async fn a_connection_that_lost_nothing_in_a_black_hole_goes_on_after_it() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    ask(&mut stream, b"before").await.unwrap();
    proxy.black_hole();
    tokio::time::sleep(Duration::from_millis(50)).await;
    proxy.heal();
    assert_eq!(ask(&mut stream, b"after").await.unwrap(), b"after");
}

#[tokio::test]
async fn swallowed_replies_leave_the_request_done() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    ask(&mut stream, b"before").await.unwrap();
    proxy.swallow_replies();
    stream.write_all(b"request").await.unwrap();
    let counters = counted(&proxy, |c| c.swallowed_replies == 7).await;
    assert_eq!((counters.to_server, counters.to_client), (13, 6));
    assert!(silent(&mut stream).await);
}

#[tokio::test]
async fn the_reply_to_one_request_is_swallowed_and_the_connection_reset() {
    let proxy = echo().await;
    let (mut hit, mut other) = (open(&proxy).await, open(&proxy).await);
    proxy.swallow_reply_to("COMMIT");
    assert_eq!(ask(&mut hit, b"SELECT").await.unwrap(), b"SELECT");
    assert_eq!(
        ask(&mut hit, b"COMMIT").await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let counters = proxy.counters();
    assert_eq!(
        (counters.to_server, counters.swallowed_replies, counters.resets),
        (12, 6, 1)
    );
    assert_eq!(ask(&mut other, b"COMMIT").await.unwrap(), b"COMMIT");
}

#[tokio::test]
async fn a_connection_is_cut_after_exactly_n_bytes_and_the_next_one_passes() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    ask(&mut stream, b"before").await.unwrap();
    proxy.cut_after(Direction::ToClient, 4);
    stream.write_all(b"12345678").await.unwrap();
    let mut reply = Vec::new();
    let error = stream.read_to_end(&mut reply).await.unwrap_err();
    assert_eq!(
        (reply.as_slice(), error.kind()),
        (&b"1234"[..], ErrorKind::ConnectionReset)
    );
    assert_eq!(
        ask(&mut open(&proxy).await, b"12345678").await.unwrap(),
        b"12345678"
    );
    assert_eq!(proxy.counters().resets, 1);
}

#[tokio::test]
async fn a_reset_of_all_ends_what_is_open() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    ask(&mut stream, b"x").await.unwrap();
    proxy.reset_all();
    assert_eq!(
        stream.read(&mut [0]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(ask(&mut open(&proxy).await, b"y").await.unwrap(), b"y");
}

#[tokio::test]
async fn latency_delays_a_round_trip_by_both_ways_and_does_not_throttle() {
    let proxy = echo().await;
    proxy.latency(Duration::from_millis(50));
    let mut stream = open(&proxy).await;
    let start = Instant::now();
    ask(&mut stream, b"x").await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    // Twenty requests in flight at once: throttled one by one they would take two seconds.
    let start = Instant::now();
    let (mut read, mut write) = stream.split();
    let requests = async {
        for _ in 0..20 {
            write.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut replies = [0; 20];
    let (_, received) = tokio::join!(requests, read.read_exact(&mut replies));
    received.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn bandwidth_bounds_the_rate() {
    let proxy = echo().await;
    proxy.bandwidth(NonZeroU32::new(100_000).unwrap());
    let mut stream = open(&proxy).await;
    let start = Instant::now();
    let (mut read, mut write) = stream.split();
    let request = vec![7; 40_000];
    let mut reply = vec![0; 40_000];
    let (sent, received) = tokio::join!(write.write_all(&request), read.read_exact(&mut reply));
    sent.unwrap();
    received.unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_unreachable_target_resets_the_client() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::start(closed).unwrap();
    let mut stream = open(&proxy).await;
    assert_eq!(
        stream.read(&mut [0]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_reply_in_pieces_arrives_whole_and_wakes_its_reader_often() {
    let proxy = echo().await;
    let mut stream = open(&proxy).await;
    proxy.pieces(NonZeroUsize::MIN);
    stream.write_all(&[7; 200]).await.unwrap();
    let (mut reply, mut reads) = (Vec::new(), 0);
    while reply.len() < 200 {
        stream.read_buf(&mut reply).await.unwrap();
        reads += 1;
    }
    assert_eq!(reply, [7; 200]);
    assert!(reads > 20, "{reads} reads");
}

#[tokio::test]
async fn what_leads_elsewhere_leads_new_connections_there_and_leaves_the_others() {
    let proxy = echo().await;
    let mut before = open(&proxy).await;
    assert_eq!(ask(&mut before, b"hello").await.unwrap(), b"hello");
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.lead_to(elsewhere.local_addr().unwrap());
    let mut after = open(&proxy).await;
    after.write_all(b"hello").await.unwrap();
    let (mut there, _) = elsewhere.accept().await.unwrap();
    let mut heard = [0; 5];
    there.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert_eq!(ask(&mut before, b"again").await.unwrap(), b"again");
}
