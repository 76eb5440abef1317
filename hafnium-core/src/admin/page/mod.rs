//! The status page: one document that a person can read, made on the server from what this process knows.
//!
//! It works without JavaScript (then the whole page reloads), without a network (nothing is fetched from elsewhere) and
//! at a phone's width. Everything that did not come from this program's own text is escaped.

mod breakers;
mod checks;
mod config;
mod dependencies;
mod markup;
mod overview;
mod policy;
mod secrets;
mod table;
mod time;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};

use self::markup::Markup;
use super::Admin;
use super::answer::answer;

/// `GET /`.
pub(super) async fn page(State(admin): State<Admin>) -> Response {
    let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", render(&admin));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy::policy());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let sniffing = HeaderName::from_static("x-content-type-options");
    headers.insert(sniffing, HeaderValue::from_static("nosniff"));
    response
}

fn render(admin: &Admin) -> String {
    let mut page = Markup::default();
    let (name, state) = (&admin.cx.service().name, admin.probes.state());
    page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />");
    page.raw("<meta name=\"robots\" content=\"noindex\" />");
    page.raw("<noscript><meta http-equiv=\"refresh\" content=\"10\" /></noscript>");
    page.raw("<title>")
        .text(name)
        .raw(": ")
        .text(state.as_str())
        .raw("</title>");
    page.raw("<style>")
        .raw(policy::STYLE)
        .raw("</style></head><body>");
    page.raw("<p id=\"stale\" class=\"bad\" role=\"alert\" hidden=\"hidden\">No answer: what is shown is old.</p><main>");
    overview::write(&mut page, admin);
    checks::write(&mut page, admin);
    dependencies::write(&mut page, admin);
    breakers::write(&mut page, admin);
    secrets::write(&mut page, admin);
    overview::write_tasks(&mut page, admin);
    config::write(&mut page, admin);
    overview::write_build(&mut page, admin);
    page.raw("</main>");
    overview::write_footer(&mut page);
    page.raw("<script>")
        .raw(policy::SCRIPT)
        .raw("</script></body></html>\n");
    page.into_string()
}

/// A section with its heading.
fn section(page: &mut Markup, id: &'static str, heading: &'static str, body: impl FnOnce(&mut Markup)) {
    page.raw("<section aria-labelledby=\"")
        .raw(id)
        .raw("\"><h2 id=\"")
        .raw(id)
        .raw("\">");
    page.raw(heading).raw("</h2>");
    body(page);
    page.raw("</section>");
}
