//! Whether what is configured is what is in force. The page shows keys; values are for `/config`, which is guarded.

use tokio::time::Instant;

use super::markup::Markup;
use super::section;
use super::table::{Tone, pairs, state};
use super::time::spoken;
use crate::admin::Admin;

pub(super) fn write(page: &mut Markup, admin: &Admin) {
    let live = admin.cx.config();
    let (config, standing) = (live.current(), live.standing());
    section(page, "config", "Configuration", |page| {
        page.raw("<p>");
        match (standing.refused.is_empty(), standing.restart.is_empty()) {
            (false, _) => state(page, Tone::Bad, "refused: the last good one is in force"),
            (true, false) => state(page, Tone::Worn, "needs a restart"),
            (true, true) => state(page, Tone::Good, "in force"),
        }
        page.raw("</p>");
        for problem in &standing.refused {
            page.raw("<p class=\"problem\">").text(problem.key());
            if let Some(origin) = problem.origin() {
                page.raw(" (").text(origin).raw(")");
            }
            // A reason may repeat what was found.
            page.raw(" is wrong; <code>/config</code> says how</p>");
        }
        if !standing.restart.is_empty() {
            page.raw("<p>Changed, and only a restart takes it over: ");
            page.text(standing.restart.join(", ")).raw("</p>");
        }
        let place = config.place();
        let known = [
            ("Environment", config.environment().as_str().to_owned()),
            ("Region", place.region.unwrap_or_default()),
            ("Zone", place.zone.unwrap_or_default()),
            ("Cell", place.cell.unwrap_or_default()),
            ("Role", place.role.as_str().to_owned()),
            ("Privacy tier", config.privacy_tier().unwrap_or_default()),
            (
                "Last confirmed",
                format!("{} ago", spoken(standing.age(Instant::now()))),
            ),
        ];
        pairs(page, &known);
    });
}
