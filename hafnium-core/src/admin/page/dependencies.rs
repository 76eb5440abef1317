//! What the service depends on: nodes with their roles, and pools.

use super::markup::Markup;
use super::section;
use super::table::{Cell, Tone, table};
use crate::admin::Admin;
use crate::topology::{Dependency, Node, NodeState, Pool};

const COLUMNS: [&str; 6] = ["Node", "Role", "State", "Place", "Connections", "Remark"];

pub(super) fn write(page: &mut Markup, admin: &Admin) {
    let dependencies = admin.cx.topology().report();
    section(page, "dependencies", "Dependencies", |page| {
        if dependencies.is_empty() {
            page.raw("<p class=\"none\">None is declared.</p>");
        }
        for dependency in &dependencies {
            one(page, dependency);
        }
    });
}

fn one(page: &mut Markup, dependency: &Dependency) {
    page.raw("<h3>").text(&dependency.name);
    page.raw(" <small>").text(dependency.kind).raw("</small></h3>");
    if let Some(trouble) = &dependency.view.trouble {
        page.raw("<p class=\"problem\">Can't be used: ")
            .text(trouble)
            .raw("</p>");
    }
    if dependency.view.nodes.is_empty() {
        page.raw("<p class=\"none\">No node is known.</p>");
        return;
    }
    let rows: Vec<_> = dependency.view.nodes.iter().map(node).collect();
    table(page, &format!("Nodes of {}", dependency.name), &COLUMNS, &rows);
}

fn node(node: &Node) -> Vec<Cell> {
    let tone = match node.state {
        NodeState::Up => Tone::Good,
        NodeState::Suspect => Tone::Worn,
        NodeState::Down => Tone::Bad,
        NodeState::Unknown => Tone::Quiet,
    };
    let place = [node.region.as_deref(), node.zone.as_deref()];
    let place: Vec<&str> = place.into_iter().flatten().collect();
    vec![
        Cell::text(&node.address),
        Cell::text(&*node.role),
        Cell::state(tone, node.state.as_str()),
        Cell::text(place.join(" / ")),
        node.pool.as_ref().map_or(Cell::text(""), pool),
        Cell::text(node.detail.as_deref().unwrap_or_default()),
    ]
}

fn pool(pool: &Pool) -> Cell {
    let Pool {
        in_use,
        idle,
        max,
        waiting,
        ..
    } = pool;
    let waiting = match waiting {
        0 => String::new(),
        waiting => format!(", {waiting} waiting"),
    };
    Cell::Gauge {
        used: *in_use,
        max: *max,
        text: format!("{in_use} in use, {idle} idle of {max}{waiting}"),
    }
}
