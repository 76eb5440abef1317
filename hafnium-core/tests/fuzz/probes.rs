//! Paths and queries of the probes, as anyone who reaches the operator listener may send them.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri};
use hafnium_core::Context;
use hafnium_core::admin::{Admin, Probes};
use hafnium_core::health::{Check, Heartbeat, Registration, Registry, Status};
use hafnium_core::lifecycle::Progress;
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

struct Service {
    runtime: Runtime,
    router: Router,
    _checks: [Registration; 2],
    _beat: Heartbeat,
}

fn service() -> &'static Service {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let cx = Context::standalone();
        let health: &Registry = cx.health();
        // Names as odd as a dependency may be called.
        let checks = [
            health.register(Check::own("pool"), || async { Status::Up }),
            health.register(Check::shared("a/b é%?&"), || async {
                Status::Down("x\n".into())
            }),
        ];
        let beat = health.heartbeat("runtime", Duration::from_secs(3600));
        let admin = Admin::new(&cx, Probes::new(&cx, &Progress::new()), String::new);
        Service {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            router: admin.router(),
            _checks: checks,
            _beat: beat,
        }
    })
}

/// The first byte chooses the probe and the form of the answer, the rest is what follows its name.
pub(crate) fn fuzz_probe_queries_and_paths(input: &[u8]) {
    let Some((way, rest)) = input.split_first() else {
        return;
    };
    let probe = ["livez", "readyz", "startupz"][usize::from(way >> 2) % 3];
    let lead = ["", "/", "?", "?exclude="][usize::from(*way) % 4];
    let path = [format!("/{probe}{lead}").as_bytes(), rest].concat();
    // What hyper does not take for a path never gets here.
    let Ok(uri) = Uri::try_from(path) else {
        return;
    };
    let json = way & 0x80 != 0;
    let mut request = Request::get(uri.clone());
    if json {
        request = request.header("accept", "text/html, application/json;q=0.9");
    }
    let request = request.body(Body::empty()).unwrap();
    let service = service();
    let (parts, body) = service.runtime.block_on(async {
        let answer = service.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    });
    let status = parts.status.as_u16();
    assert!(
        [200, 404, 503].contains(&status) || uri.path() != format!("/{probe}"),
        "{uri}: {status}"
    );
    assert!(status < 500 || status == 503, "{uri}: {status}");
    if [200, 503].contains(&status) && uri.path() == format!("/{probe}") {
        assert_eq!(parts.headers["cache-control"], "no-store", "{uri}");
        if json {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(body["checks"].is_array(), "{uri}: {body}");
        } else {
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text == "ok\n" || text.ends_with("ed\n"), "{uri}: {text}");
        }
    }
}
