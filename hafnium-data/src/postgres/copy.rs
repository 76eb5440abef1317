//! COPY on a dedicated connection.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use hafnium_core::Outcome;
use sqlx::Error;

use super::dedicated::Dedicated;
use super::rows;

impl Dedicated {
    /// Sends `data` by `statement`, a `COPY … FROM STDIN`, and says how many rows were stored. The chunks may be cut
    /// anywhere. An error among them ends the COPY and is returned; nothing is stored then.
    ///
    /// ```no_run
    /// # async fn example(ledger: hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// use futures_util::stream;
    ///
    /// let rows = stream::iter(["7\t100\n", "8\t250\n"].map(Ok));
    /// let stored = ledger.acquire().await?.copy_in("COPY accounts FROM STDIN", rows).await?;
    /// # let _ = stored;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The deadline bounds each step: the server's readiness, a chunk, the reply at the end. The whole may take longer
    /// where the server allows it: `statement_timeout` of the settings counts from the beginning, and
    /// `SET statement_timeout = 0` on this connection switches it off.
    ///
    /// # Errors
    /// Those of the server. A connection that is lost before the end of the data was sent has stored nothing, and the
    /// error says *unknown* all the same; a time-out or a cut tells the two apart.
    ///
    /// Cancel-safety: dropping the future stores nothing, unless all data had been sent; the connection is closed.
    pub async fn copy_in<B, D>(&mut self, statement: &str, data: D) -> Result<u64, Error>
    where
        B: AsRef<[u8]>,
        D: Stream<Item = Result<B, Error>>,
    {
        let begun = self.begin()?;
        let (guard, view) = (begun.guard(), begun.view);
        let result = async {
            let ready = begun.link.copy_in_raw(statement);
            let waited_for = "the server to take a COPY";
            let mut copy = guard
                .run(view.deadline(), waited_for, Outcome::NotRun, ready)
                .await?;
            let mut data = std::pin::pin!(data);
            while let Some(chunk) = guard.unless_cut(data.next()).await? {
                match chunk {
                    Ok(chunk) => {
                        let sent = async { copy.send(chunk.as_ref()).await.map(drop) };
                        let waited_for = "the server to take a chunk of a COPY";
                        guard
                            .run(view.deadline(), waited_for, Outcome::RolledBack, sent)
                            .await?;
                    }
                    Err(error) => {
                        let aborted = copy.abort("the data ended with an error");
                        let waited_for = "the end of a COPY";
                        guard
                            .run(view.deadline(), waited_for, Outcome::RolledBack, aborted)
                            .await?;
                        // Not the connection's.
                        return Ok(Err(error));
                    }
                }
            }
            let waited_for = "the reply to a COPY";
            guard
                .run(view.deadline(), waited_for, Outcome::Unknown, copy.finish())
                .await
                .map(Ok)
        }
        .await;
        self.ended(result)?
    }

    /// What `statement`, a `COPY … TO STDOUT`, says, in chunks as the server sent them.
    ///
    /// The deadline bounds the wait for each chunk; `statement_timeout` of the settings the whole, as for
    /// [`copy_in`](Self::copy_in).
    ///
    /// # Errors
    /// The stream ends with the server's error. After an error, or dropped before its end, the connection can't be used
    /// any more.
    pub fn copy_out<'c>(&'c mut self, statement: &'c str) -> BoxStream<'c, Result<Bytes, Error>> {
        rows::stream(move |outlet: rows::Outlet<Bytes>| async move {
            let begun = self.begin()?;
            let (guard, view) = (begun.guard(), begun.view);
            let result = async {
                let ready = begun.link.copy_out_raw(statement);
                let waited_for = "the server to begin a COPY";
                let mut chunks = guard
                    .run(view.deadline(), waited_for, Outcome::NotRun, ready)
                    .await?;
                loop {
                    let next = async { chunks.next().await.transpose() };
                    let waited_for = "the next chunk of a COPY";
                    match guard
                        .run(view.deadline(), waited_for, Outcome::Unknown, next)
                        .await?
                    {
                        Some(chunk) => outlet.put(chunk).await,
                        None => return Ok(()),
                    }
                }
            }
            .await;
            let failed = result.is_err();
            let result = self.ended(result);
            // sqlx leaves a reply unread when the server refuses a COPY to us.
            self.close_if(failed);
            result
        })
    }
}
