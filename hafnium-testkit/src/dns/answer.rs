//! Questions as the protocol has them, answered from the zone.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::{RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::zone::{Reply, Zone};

pub(crate) struct Answering {
    pub(crate) zone: Arc<Zone>,
}

impl RequestHandler for Answering {
    /// Written out as `async_trait` would write it, for want of that crate.
    fn handle_request<'life0, 'life1, 'async_trait, R, T>(
        &'life0 self,
        request: &'life1 Request,
        response: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'async_trait>>
    where
        R: ResponseHandler + 'async_trait,
        T: Time + 'async_trait,
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.answer(request, response))
    }
}

impl Answering {
    async fn answer(&self, request: &Request, mut response: impl ResponseHandler) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let nothing_sent = ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        });
        let mut records = Vec::new();
        match request.request_info() {
            Ok(info) => {
                let name = info.query.original().name().clone();
                let kind = info.query.query_type();
                let wanted = |address: &IpAddr| {
                    (kind == RecordType::A && address.is_ipv4())
                        || (kind == RecordType::AAAA && address.is_ipv6())
                };
                match self.zone.reply(&name.to_string(), wanted) {
                    Reply::Silence => return nothing_sent,
                    Reply::Unknown => metadata.response_code = ResponseCode::NXDomain,
                    Reply::Records(addresses, ttl) => {
                        let seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
                        records.extend(
                            addresses.into_iter().map(|address| {
                                Record::from_rdata(name.clone(), seconds, RData::from(address))
                            }),
                        );
                    }
                }
            }
            Err(_) => metadata.response_code = ResponseCode::FormErr,
        }
        let message =
            MessageResponseBuilder::from_message_request(request).build(metadata, &records, [], [], []);
        // A client that went away needs no answer.
        response.send_response(message).await.unwrap_or(nothing_sent)
    }
}
