//! Who this is and how it does: the head of the page, background tasks, the build, and where to look further.

use super::markup::Markup;
use super::section;
use super::table::{Cell, Tone, pairs, state, table};
use super::time::spoken;
use crate::admin::Admin;
use crate::lifecycle::State;

pub(super) fn write(page: &mut Markup, admin: &Admin) {
    let service = admin.cx.service();
    page.raw("<header><h1>").text(&service.name);
    page.raw(" <small>")
        .text(&service.version)
        .raw("</small></h1><p class=\"lead\">");
    let life = admin.probes.state();
    let tone = match life {
        State::Ready => Tone::Good,
        State::Starting | State::Draining => Tone::Worn,
        State::Stopping | State::Stopped => Tone::Bad,
    };
    state(page, tone, life.as_str());
    match admin.probes.is_ready() {
        true => state(page, Tone::Good, "takes requests"),
        false => state(page, Tone::Bad, "not ready"),
    }
    match admin.probes.is_alive() {
        true => state(page, Tone::Good, "alive"),
        false => state(page, Tone::Bad, "stalled"),
    }
    page.raw("<span>up for ")
        .text(spoken(admin.begun.elapsed()))
        .raw("</span>");
    page.raw("<span>instance ")
        .text(&service.instance)
        .raw("</span></p></header>");
}

/// The background tasks by name.
pub(super) fn write_tasks(page: &mut Markup, admin: &Admin) {
    let running = admin.cx.tasks().running();
    section(page, "tasks", "Tasks", |page| {
        if running.is_empty() {
            page.raw("<p class=\"none\">None runs.</p>");
            return;
        }
        let row = |(name, count): (&String, &usize)| vec![Cell::text(name), Cell::text(count.to_string())];
        let rows: Vec<_> = running.iter().map(row).collect();
        table(page, "Background tasks that run", &["Task", "Running"], &rows);
    });
}

/// How the program was built and where it runs.
pub(super) fn write_build(page: &mut Markup, admin: &Admin) {
    let build = &admin.build;
    section(page, "build", "Build", |page| {
        let features = match build.features.is_empty() {
            true => "none".to_owned(),
            false => build.features.join(", "),
        };
        let known = [
            ("Version", admin.cx.service().version.clone()),
            ("Commit", admin.cx.service().commit.clone().unwrap_or_default()),
            ("Compiler", build.rustc.to_owned()),
            (
                "Profile",
                if build.release { "release" } else { "debug" }.to_owned(),
            ),
            ("Features", features),
            ("Process", std::process::id().to_string()),
            ("Started", admin.started()),
        ];
        pairs(page, &known);
    });
}

/// The endpoints beside this page.
pub(super) fn write_footer(page: &mut Markup) {
    page.raw("<footer><nav aria-label=\"Other endpoints\"><ul>");
    for (path, what) in [
        ("report", "report"),
        ("topology", "topology"),
        ("metrics", "metrics"),
        ("info", "info"),
        ("readyz?verbose", "readyz"),
        ("livez?verbose", "livez"),
        ("config", "config"),
        ("loglevel", "log level"),
    ] {
        page.raw("<li><a href=\"")
            .raw(path)
            .raw("\">")
            .raw(what)
            .raw("</a></li>");
    }
    page.raw("</ul></nav><p>Refreshes itself every few seconds. Config and log level answer on this host, or with the \
        token <code>admin.token</code>.</p></footer>");
}
