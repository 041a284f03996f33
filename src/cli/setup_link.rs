//! `keyward setup-link`: a one-time link to the page on which an admin is made.

use serde_json::json;

use super::output::{Failure, Report};
use crate::account::setup_link;
use crate::app::App;

/// Makes a link; earlier ones that weren't used stop working.
pub(super) async fn run(app: &App) -> Result<Report, Failure> {
    let link = setup_link::make(app).await?;
    Ok(Report::line(json!({ "url": link }), link.as_str()))
}
