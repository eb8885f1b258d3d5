//! What the draft says, in our words, and what ARCP as Tidegate serves it settles; and which test shows it.

use Level::{Is, May, Must, MustNot, Settled, Should};

/// How strong a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Must,
    MustNot,
    Should,
    May,
    /// Said without one of these words.
    Is,
    /// Not said, or differently by clients: settled here.
    Settled,
}

/// What shows that it holds.
pub(crate) enum Proof {
    /// A test of this binary.
    Test(&'static str),
    /// Nothing has to, because.
    Not(&'static str),
    /// It does not, or nothing shows it yet, because.
    Open(&'static str),
}

/// One statement.
pub(crate) struct Statement {
    pub(crate) section: &'static str,
    pub(crate) level: Level,
    pub(crate) says: &'static str,
    pub(crate) proof: Proof,
}

/// A table whose tests are there: what is named and is none does not compile.
macro_rules! statements {
    (@proof test $module:ident :: $test:ident) => {{
        const _: fn() = crate::$module::$test;
        Proof::Test(concat!(stringify!($module), "::", stringify!($test)))
    }};
    (@proof not $why:literal) => { Proof::Not($why) };
    (@proof open $why:literal) => { Proof::Open($why) };
    ($($section:literal $level:ident $says:literal [$($proof:tt)+])+) => {
        &[$(Statement { section: $section, level: $level, says: $says, proof: statements!(@proof $($proof)+) }),+]
    };
}

#[rustfmt::skip]
pub(crate) const STATEMENTS: &[Statement] = statements! {
    "4" Is "WebSocket is served on the network."
        [test s4_transport::a_websocket_is_served_at_both_addresses]
    "4" Is "stdio serves children in processes."
        [test stdio::a_child_speaks_in_lines_and_says_nothing_else]
    "4" May "Other transports are offered."
        [not "none is: a WebSocket in a stream of HTTP/2 is still a WebSocket"]
    "4" Settled "No subprotocol; a text frame is one JSON object, and less than 1 MiB, also with the largest piece of a result."
        [test s4_transport::the_largest_pieces_fit_what_clients_take]
    "5" Must "Fields of the envelope that are not known are ignored."
        [test s5_envelope::fields_that_are_not_known_are_ignored]
    "5" Settled "A bad message is answered with `INVALID_REQUEST` and the session lives on."
        [test s5_envelope::a_bad_message_is_answered_and_the_session_lives_on]
    "5" Settled "An unknown type is refused, but for an extension of a vendor that says it is optional, which is dropped."
        [test s5_envelope::types_that_are_not_known_are_refused_unless_they_may_be_ignored]
    "5" Settled "A message whose id came before is skipped in silence, also after a resume; pings are not."
        [test s5_envelope::a_message_counts_once_also_after_a_resume]
    "5" Settled "Any id of 1 to 256 bytes is taken."
        [test s5_envelope::any_id_will_do_that_is_one]
    "6.1" Is "The token in `session.hello.payload.auth` says who is there, and nothing else does."
        [test s6_hello::who_is_there_is_said_in_the_hello]
    "6.1" Settled "Another scheme than `bearer` is `UNAUTHENTICATED`."
        [test s6_hello::other_schemes_than_bearer_are_refused]
    "6.1" Settled "A bad token is answered with `UNAUTHENTICATED` and a close at once."
        [test faults::failed_authentication_leaves_the_socket_open]
    "6.2" Is "The welcome tells runtime, token, window, heartbeat, features, and agents with their versions."
        [test s6_hello::a_welcome_says_all_that_a_client_needs]
    "6.2" Is "The effective features are the intersection of both lists."
        [test s6_hello::features_are_what_both_sides_have]
    "6.2" MustNot "The client uses a feature outside of the intersection: it is refused."
        [test s6_hello::what_was_not_agreed_to_is_refused]
    "6.2" MustNot "The gateway uses `heartbeat` outside of the intersection."
        [test s6_liveness::heartbeats_are_for_who_agreed_to_them]
    "6.2" MustNot "The gateway uses `ack` outside of the intersection: no back-pressure."
        [test s6_liveness::who_never_acknowledges_is_not_told_to]
    "6.2" MustNot "The gateway uses `provisioned_credentials` outside of the intersection."
        [test s9_credentials::they_are_shown_to_the_submitter_alone]
    "6.2" MustNot "The gateway sends `progress` and `result_chunk` events outside of the intersection: they are `x-vendor.tidegate.…` then."
        [test s6_hello::kinds_that_were_not_agreed_to_are_told_under_another_name]
    "6.2" Settled "Before the welcome only a hello counts; anything else is `INVALID_REQUEST` and a close."
        [test s6_hello::before_the_welcome_only_a_hello_counts]
    "6.2" Settled "A second hello is refused and changes nothing."
        [test s6_hello::a_second_hello_is_refused_and_changes_nothing]
    "6.2" Settled "A hello has to come within 10 s, or as configured."
        [test s6_hello::who_says_no_hello_is_closed_after_a_while]
    "6.3" Is "The resume token is another after every welcome."
        [test s6_resume::the_token_is_another_after_each_welcome]
    "6.3" Is "What came after `last_event_seq` is told again."
        [test s6_resume::what_came_after_the_number_is_told_again]
    "6.3" Is "`RESUME_WINDOW_EXPIRED` where that is kept no more; a failed attempt burns nothing."
        [test s6_resume::what_is_kept_no_more_is_said_to_be_gone]
    "6.3" Settled "A resume is taken in the hello, at its top by the token alone, and as `session.resume`."
        [test s6_resume::three_forms_of_a_resume_are_taken]
    "6.3" Settled "The token from before is good until something is heard after the welcome."
        [test s6_resume::a_welcome_that_was_lost_costs_nothing]
    "6.3" Settled "A token is of its own session alone."
        [test s6_resume::a_session_without_a_token_of_its_own_is_not_found]
    "6.3" Settled "The same session goes on, with submit and cancel."
        [test s6_resume::what_is_resumed_is_the_same_session]
    "6.3" Settled "Bound to the principal."
        [test faults::another_principal_resumes_with_a_stolen_token]
    "6.3" Settled "The window counts from the last activity."
        [test faults::the_window_counts_from_the_welcome]
    "6.3" Is "Past its window a session is gone; its jobs go on."
        [test s6_resume::when_the_window_is_over_so_is_the_session]
    "6.3" Settled "A resume at the head is an empty replay."
        [test faults::a_resume_that_is_fully_caught_up_is_refused]
    "6.3" Settled "The former connection is fenced out."
        [test faults::two_connections_write_after_a_resume]
    "6.4" Should "Both sides send something in every interval: an idle gateway sends `session.ping`."
        [test s6_liveness::an_idle_connection_gets_a_ping_and_who_answers_none_is_given_up]
    "6.4" Must "A ping is answered promptly with its nonce."
        [test s6_liveness::a_ping_is_answered_with_its_nonce]
    "6.4" Settled "Also while an earlier request waits."
        [test faults::a_slow_handler_blocks_pings]
    "6.4" May "Two silent intervals are `HEARTBEAT_LOST` and a close."
        [test s6_liveness::an_idle_connection_gets_a_ping_and_who_answers_none_is_given_up]
    "6.4" MustNot "Jobs end when a heartbeat is lost; the session is there for its window."
        [test s6_liveness::an_idle_connection_gets_a_ping_and_who_answers_none_is_given_up]
    "6.4" Is "Heartbeats have no `event_seq`."
        [test s6_liveness::a_ping_is_answered_with_its_nonce]
    "6.5" May "The client tells how far it is."
        [test s6_liveness::what_is_acknowledged_is_let_go]
    "6.5" May "What is acknowledged is let go before the window is over."
        [test s6_liveness::what_is_acknowledged_is_let_go]
    "6.5" MustNot "What is not acknowledged is let go because a time is over."
        [test s6_liveness::what_is_not_acknowledged_outlives_the_window]
    "6.5" May "A lag of more than 1,000 is answered with `back_pressure`, once until half of it is made good."
        [test s6_liveness::who_lags_behind_is_told_once_and_again_when_it_has_caught_up]
    "6.5" Should "Acknowledgements are not sent for each event."
        [not "it is for clients to do"]
    "6.5" Is "An acknowledgement says nothing of what was received: a resume has its own number."
        [test s6_liveness::an_acknowledgement_says_nothing_of_what_was_received]
    "6.5" Settled "An acknowledgement above the head is refused."
        [test s6_liveness::an_acknowledgement_above_the_head_is_refused]
    "6.6" May "A client asks which jobs there are."
        [test s6_listing::jobs_are_listed_with_all_that_is_known_of_them]
    "6.6" Is "Every filter is optional."
        [test s6_listing::every_filter_may_be_left_out]
    "6.6" May "Jobs of other principals are listed where policy permits."
        [test s6_listing::only_what_one_may_see_is_listed]
    "6.6" MustNot "The existence of a job leaks to who may not know of it."
        [test faults::a_foreign_jobs_existence_leaks]
    "6.6" Is "A list subscribes to nothing."
        [test s6_listing::a_list_subscribes_to_nothing]
    "6.6" Settled "Pages are stable while jobs come and go."
        [test s6_listing::pages_are_stable_while_jobs_come_and_go]
    "6.6" Settled "Jobs that have ended stay listed for the window."
        [test s6_listing::what_has_ended_is_listed_for_the_window]
    "6.7" Is "`session.close` is answered with `session.closed`; jobs go on, and so may the session."
        [test s6_listing::a_close_is_acknowledged_and_jobs_go_on]
    "7.1" Is "`job.accepted` has the effective lease, its constraints and its budget."
        [test s7_jobs::an_acceptance_says_what_the_job_may_do]
    "7.1" Is "Without `lease_constraints` the lease has no end."
        [test s9_leases::without_constraints_a_lease_never_ends]
    "7.1" Is "Without `cost.budget` none is enforced."
        [test s9_budget::without_a_budget_none_is_enforced]
    "7.1" May "An acceptance has credentials."
        [test s9_credentials::a_credential_is_in_the_acceptance]
    "7.1" Settled "Acceptances and rejections are in the order of the submits."
        [test s7_jobs::submits_are_answered_in_their_order]
    "7.1" Settled "A malformed submit is `INVALID_REQUEST` and leaves nothing."
        [test s7_jobs::what_a_submit_asks_for_has_to_be_well_formed]
    "7.2" Must "The same key and parameters have the same acceptance."
        [test s7_jobs::the_same_key_and_parameters_are_the_same_job]
    "7.2" Is "The same key with other parameters is `DUPLICATE_KEY`."
        [test s7_jobs::other_parameters_under_a_key_are_refused]
    "7.2" Settled "Keys are a principal's own."
        [test s7_jobs::a_key_is_a_principals_own]
    "7.2" Settled "Concurrent submits with a key are one job."
        [test s7_jobs::concurrent_submits_with_a_key_are_one_job]
    "7.2" Settled "The end of a job that has ended is told again."
        [test faults::a_replayed_submit_of_a_finished_job_has_no_terminal]
    "7.2" Settled "`DUPLICATE_KEY` names no job and disturbs nobody."
        [test faults::duplicate_key_disturbs_the_original_job]
    "7.3" Is "A job ends once, in `success`, `error`, `cancelled` or `timed_out`; its first event says that it runs."
        [test s7_jobs::a_job_runs_and_ends_once_in_one_of_four_states]
    "7.3" Is "`BUDGET_EXHAUSTED` ends in `error`."
        [test s9_budget::an_agent_that_gives_up_ends_in_error]
    "7.3" Is "`LEASE_EXPIRED` ends in `error`."
        [test s9_leases::a_job_whose_lease_has_ended_is_ended]
    "7.3" Settled "A result is told as `result` and as `output`."
        [test s7_jobs::a_result_is_told_under_both_its_names]
    "7.4" May "The submitting session cancels a job that has not ended: `job.cancelled`, then `CANCELLED`."
        [test s7_control::a_cancel_is_acknowledged_and_then_the_job_ends]
    "7.4" Settled "What has ended cannot be cancelled."
        [test s7_control::what_has_ended_cannot_be_cancelled]
    "7.4" Settled "Whatever the agent does afterwards, the job is cancelled."
        [test faults::a_cancelled_job_ends_in_success]
    "7.4" Settled "Nobody else may cancel, and nobody hears of it."
        [test faults::a_refused_cancel_reaches_other_subscribers]
    "7.5" May "An agent is named with a version, which then runs."
        [test s7_control::a_version_that_is_named_is_the_one_that_runs]
    "7.5" Is "A name alone is the default version."
        [test s7_control::a_name_alone_is_the_default_version]
    "7.5" May "Any version is picked where none is the default."
        [not "one always is"]
    "7.5" Must "Who needs stability pins a version."
        [not "it is for clients to do"]
    "7.5" Is "What is not offered is `AGENT_VERSION_NOT_AVAILABLE` or `AGENT_NOT_AVAILABLE`."
        [test s7_control::what_is_not_offered_is_said_to_be_so]
    "7.5" May "The runtime orders versions."
        [not "it does not: the one that was offered last as the default is"]
    "7.5" MustNot "A running job changes its version."
        [not "there is nothing that could: a job has its version from its acceptance to its end, and every list says which"]
    "7.6" May "A client attaches to a job, with its history or without."
        [test s7_subscribe::history_comes_first_and_then_what_is_live]
    "7.6" Is "History begins behind `from_event_seq`."
        [test s7_subscribe::history_begins_behind_the_number_that_is_named]
    "7.6" Is "Without `history` only what is new comes."
        [test s7_subscribe::without_history_only_what_is_new_comes]
    "7.6" May "The descriptor has `lease_constraints` and the current `budget`."
        [test s7_subscribe::a_subscriber_is_told_the_bounds_of_the_job]
    "7.6" Must "`credentials` are shown to the submitting principal alone, and redacted for all others."
        [test s9_credentials::they_are_shown_to_the_submitter_alone]
    "7.6" Must "`credentials` are in `session.list_jobs` for the submitter."
        [open "they are in `job.subscribed` and `job.accepted` only: a list that anybody may keep has no secrets"]
    "7.6" Is "Events of all jobs are in the one sequence of the session."
        [test s7_subscribe::events_of_several_jobs_are_in_one_sequence]
    "7.6" Must "It is verified that the principal may observe the job."
        [test s7_subscribe::who_may_not_see_a_job_is_told_that_there_is_none]
    "7.6" Settled "It is told `JOB_NOT_FOUND`, not `PERMISSION_DENIED`, which would say that there is such a job."
        [test s7_subscribe::who_may_not_see_a_job_is_told_that_there_is_none]
    "7.6" May "A subscription is ended."
        [test s7_subscribe::a_subscription_may_be_ended]
    "7.6" Is "A subscription gives no authority to cancel."
        [test s7_subscribe::a_subscriber_may_only_look]
    "7.6" Settled "What has ended can be subscribed to, and its end is told with the history."
        [test s7_subscribe::what_has_ended_can_be_looked_at]
    "7.6" Settled "A subscriber that does not read delays nobody."
        [test faults::a_stalled_subscriber_freezes_the_owners_job]
    "7.7" Should "Dashboards subscribe; who reconnects resumes."
        [not "it is for clients to do"]
    "8.1" Is "An event has type, session, job, number and a payload of kind and body."
        [test s8_events::every_kind_comes_as_it_was_said]
    "8.2" Is "The ten kinds have their bodies."
        [test s8_events::every_kind_comes_as_it_was_said]
    "8.2.1" Must "`current` is not negative."
        [test s8_events::progress_is_neither_negative_nor_more_than_the_total]
    "8.2.1" Should "`current` is not more than `total`."
        [test s8_events::progress_is_neither_negative_nor_more_than_the_total]
    "8.3" Is "Numbers are of the session, monotonic, and without a gap over reconnects."
        [test s8_events::numbers_have_no_gap_over_many_connections]
    "8.3" Should "Who sees a gap resumes."
        [not "it is for clients to do"]
    "8.4" May "An agent streams its result."
        [test s8_events::a_streamed_result_is_its_chunks_in_their_order]
    "8.4" Must "Chunks are in order."
        [test s8_events::a_streamed_result_is_its_chunks_in_their_order]
    "8.4" Should "Text is `utf8`, other bytes are `base64`."
        [test s8_events::a_streamed_result_is_its_chunks_in_their_order]
    "8.4" MustNot "A result is both inline and streamed."
        [test s8_events::a_result_is_inline_or_streamed_and_never_both]
    "8.4" Must "After a chunk `job.result` has `result_id`."
        [test s8_events::a_result_is_inline_or_streamed_and_never_both]
    "8.4" Settled "A job that fails while it streams has no result."
        [test s8_events::a_job_that_fails_while_it_streams_has_no_result]
    "9.1" Must "Every operation is covered by a capability of the lease."
        [test s9_leases::without_a_grant_nothing_may_be_done]
    "9.2" Is "Patterns are globs by namespace."
        [test s9_leases::what_no_pattern_covers_is_refused]
    "9.2" Settled "Namespaces are those of the draft and vendors'."
        [test s9_leases::only_the_namespaces_of_the_draft_and_of_vendors_are_taken]
    "9.3" Must "The lease is evaluated before an operation is authorised."
        [test s9_leases::a_refusal_is_a_tool_result_and_the_agent_decides]
    "9.3" Must "What it does not cover fails with `PERMISSION_DENIED`."
        [test s9_leases::what_no_pattern_covers_is_refused]
    "9.4" Must "A delegated lease is a subset, else `LEASE_SUBSET_VIOLATION`."
        [test s10_delegation::a_child_may_do_no_more_than_its_parent]
    "9.4" MustNot "Its budget is more than what is left."
        [test s10_delegation::a_child_gets_of_the_budget_what_is_left]
    "9.4" MustNot "It expires after its parent's."
        [test s10_delegation::a_child_expires_no_later_than_its_parent]
    "9.4" May "It expires before its parent's."
        [test s10_delegation::a_child_expires_no_later_than_its_parent]
    "9.4" May "It has no constraints; it inherits those of the parent."
        [test s10_delegation::a_child_expires_no_later_than_its_parent]
    "9.4" May "It has some where the parent has none."
        [test s10_delegation::without_an_expiry_a_child_may_have_one_or_none]
    "9.4" Must "Its models are a subset of its parent's."
        [test s10_delegation::a_child_may_do_no_more_than_its_parent]
    "9.5" May "A lease has `expires_at`."
        [test s7_jobs::an_acceptance_says_what_the_job_may_do]
    "9.5" Must "It is in UTC and in the future, else `INVALID_REQUEST`."
        [test s9_leases::an_expiry_is_in_utc_and_in_the_future]
    "9.5" Must "It is evaluated at every operation, which then fails with `LEASE_EXPIRED`."
        [test s9_leases::a_lease_that_has_ended_permits_nothing]
    "9.5" Must "Another operation after that ends the job with `LEASE_EXPIRED`."
        [test s9_leases::a_lease_that_has_ended_permits_nothing]
    "9.5" May "The job is ended without waiting for one."
        [test s9_leases::a_job_whose_lease_has_ended_is_ended]
    "9.5" Must "Who needs more time cancels and submits again."
        [not "it is for clients to do; there is no message that renews"]
    "9.5" Settled "An expiry years ahead does not fire at once."
        [test faults::an_expiry_25_days_ahead_fires_at_once]
    "9.6" Is "Each currency has its own counter."
        [test s9_budget::each_cost_is_taken_off_its_own_counter]
    "9.6" Must "A `cost.` metric is taken off the counter of its unit."
        [test s9_budget::each_cost_is_taken_off_its_own_counter]
    "9.6" Is "A negative one is refused."
        [test s9_budget::a_negative_cost_is_refused]
    "9.6" Must "All counters are looked at before any operation."
        [test s9_budget::with_nothing_left_in_any_currency_nothing_may_be_done]
    "9.6" Must "With nothing left it fails with `BUDGET_EXHAUSTED`."
        [test s9_budget::with_nothing_left_in_any_currency_nothing_may_be_done]
    "9.6" Should "As a refusal that the agent may handle, rather than as the end of the job."
        [test s9_budget::with_nothing_left_in_any_currency_nothing_may_be_done]
    "9.6" May "`cost.budget.remaining` is told after each decrement."
        [test s9_budget::each_cost_is_taken_off_its_own_counter]
    "9.6" Should "Errors of an upstream become `BUDGET_EXHAUSTED`."
        [not "the gateway calls no upstream on a job's behalf; an agent may fail with that code"]
    "9.6" Should "`cost.budget.remaining` is told also where the upstream counts."
        [test s9_budget::each_cost_is_taken_off_its_own_counter]
    "9.6" Settled "Budgets are decimals."
        [test faults::float_budgets]
    "9.6" Settled "What is left is the gateway's to say."
        [test s9_budget::what_is_left_is_the_gateways_to_say]
    "9.7" Must "A model that no pattern names is `PERMISSION_DENIED`."
        [test s9_leases::what_no_pattern_covers_is_refused]
    "9.7" Should "The same bound is in the credential."
        [test s9_credentials::what_makes_them_is_told_all_bounds_of_the_job]
    "9.7" Must "Without `model.use` no model is allowed where configuration requires it."
        [test s9_budget::where_models_have_to_be_named_none_is_allowed_without]
    "9.7" May "Otherwise any is."
        [test s9_budget::where_models_have_to_be_named_none_is_allowed_without]
    "9.8" May "Credentials are provisioned."
        [test s9_credentials::a_credential_is_in_the_acceptance]
    "9.8.1" Must "`id`, `scheme`, `value` and `endpoint` are there."
        [test s9_credentials::a_credential_is_in_the_acceptance]
    "9.8.1" May "So are `profile` and `constraints`."
        [test s9_credentials::a_credential_is_in_the_acceptance]
    "9.8.1" Must "Unknown schemes are ignored."
        [not "it is for clients to do"]
    "9.8.1" MustNot "A credential is presented elsewhere."
        [not "it is for agents to do"]
    "9.8.2" Must "They are issued no later than `job.accepted`."
        [test s9_credentials::a_credential_is_in_the_acceptance]
    "9.8.2" Must "They are shown over the authenticated transport only."
        [test faults::secrets_in_the_event_log]
    "9.8.2" MustNot "A value is used for two jobs."
        [test s9_credentials::each_job_has_its_own]
    "9.8.2" Must "They are revoked however the job ends."
        [test s9_credentials::they_are_ended_with_the_job_however_that_ends]
    "9.8.2" Should "A revocation that fails is tried again."
        [test s9_credentials::they_are_ended_with_the_job_however_that_ends]
    "9.8.2" Must "Failures are logged."
        [not "each one is, at the level error; it is tried until it succeeds, so none is permanent"]
    "9.8.2" May "A credential is rotated."
        [not "none is"]
    "9.8.2" Must "A rotation is told, and what was before is revoked."
        [not "none is rotated"]
    "9.8.2" May "Children have their own."
        [test s9_credentials::a_child_has_its_own_which_end_with_the_parent]
    "9.8.2" Must "They are made within the child's lease, which is within its parent's."
        [test s9_credentials::a_child_has_its_own_which_end_with_the_parent]
    "9.8.2" MustNot "The end of the parent leaves them live."
        [test s9_credentials::a_child_has_its_own_which_end_with_the_parent]
    "9.8.2" MustNot "A client keeps a value."
        [not "it is for clients to do"]
    "9.8.3" Should "Budget, models and expiry are baked in."
        [test s9_credentials::what_makes_them_is_told_all_bounds_of_the_job]
    "9.8.3" MustNot "It is inferred that what is not in `constraints` is not in the lease."
        [not "it is for clients to do"]
    "10" May "An agent delegates a part of its lease."
        [test s10_delegation::a_child_is_told_and_runs_in_the_same_trace]
    "10" MustNot "The budget of a child is more than what is left."
        [test s10_delegation::a_child_gets_of_the_budget_what_is_left]
    "10" MustNot "A child expires after its parent."
        [test s10_delegation::a_child_expires_no_later_than_its_parent]
    "10" Settled "What a child may spend is reserved, and what it did not spend returns."
        [test faults::two_children_each_get_the_whole_remaining_budget]
    "11" Must "The trace is forwarded to sub-agents, and to agents for their tools."
        [test s10_delegation::a_child_is_told_and_runs_in_the_same_trace]
    "11" Settled "`trace_id` is 32 hex digits; a `traceparent` is taken as what it carries."
        [test s10_delegation::a_child_is_told_and_runs_in_the_same_trace]
    "11" Settled "One is made where none is given."
        [test s10_delegation::a_trace_is_made_where_none_is_given]
    "12" Is "Errors have one of fifteen codes; an agent's own is in `details`."
        [test s12_errors::codes_of_an_agents_own_are_details]
    "12" Must "`LEASE_EXPIRED` and `BUDGET_EXHAUSTED` are not retryable; `INTERNAL_ERROR` is."
        [test s12_errors::whether_to_try_again_is_the_codes_to_say]
    "14" Must "Only the same principal may subscribe unless policy says otherwise."
        [test s7_subscribe::who_may_not_see_a_job_is_told_that_there_is_none]
    "14" MustNot "A subscription gives authority to cancel."
        [test s7_control::only_the_submitting_session_may_cancel]
    "14" Must "Expiry is told by a clock that is disciplined."
        [not "it is the system's, which is for whoever runs it to discipline"]
    "14" Should "A small grace is allowed."
        [test s9_leases::a_lease_that_has_ended_permits_nothing]
    "14" Should "Expirations are logged for audit."
        [open "the end of a job is in its log and in the metrics, not in the audit log"]
    "14" Must "Cost is also counted at the upstream where strong budgets are needed."
        [not "it is for whoever runs it: provisioned credentials carry the cap"]
    "14" Must "Credentials are issued over encrypted transports only."
        [not "TLS is for whoever runs it to configure; nothing is refused without it"]
    "14" MustNot "Subscribers get credentials."
        [test s9_credentials::they_are_shown_to_the_submitter_alone]
    "14" Must "The ids of outstanding credentials are persisted, and revoked also after a restart."
        [test s9_credentials::what_could_not_be_revoked_is_after_a_restart]
    "14" MustNot "A value is stored or logged."
        [test faults::secrets_in_the_event_log]
    "14" MustNot "The feature is advertised without a provisioner."
        [test s9_credentials::without_a_provisioner_the_feature_is_not_offered]
    "14" Should "A chunk, and a streamed result, has a bound."
        [test s8_events::a_chunk_or_a_result_that_is_too_long_fails_the_job]
    "14" Must "Past it the job ends with `INTERNAL_ERROR`."
        [test s8_events::a_chunk_or_a_result_that_is_too_long_fails_the_job]
    "14" Should "A principal has so many sessions."
        [test s14_security::a_principal_has_so_many_sessions_and_jobs]
    "14" Should "Sessions that only beat may be disconnected."
        [open "they are not: they are bounded in number, and cost little"]
    "14" Should "Every subscribe is logged with who, what, whose and the decision."
        [test s14_security::every_subscribe_is_logged]
    "Dialects" Settled "Budgets are numbers, and texts for Python."
        [test dialects::budgets_are_numbers_but_for_python]
    "Dialects" Settled "`final_status` says what stopped a job, and `error` for Python."
        [test dialects::what_stopped_a_job_is_its_final_status_but_for_python]
    "Dialects" Settled "A rejected submit is said as each library looks for it."
        [test dialects::a_refused_submit_is_said_as_each_library_looks_for_it]
    "Dialects" Settled "The id of the hello, its client's name, the principal and the address choose."
        [test dialects::a_dialect_may_be_asked_for_by_address_name_or_principal]
    "Durability" Settled "A transport drop ends no job."
        [test faults::a_transport_drop_kills_a_job]
    "Durability" Settled "A resumed session has live events and cancel."
        [test faults::the_resumed_session_gets_no_live_events_or_loses_cancel]
    "Durability" Settled "A session has any number of events in its life."
        [test faults::a_lifetime_cap_on_events]
    "Durability" Settled "Logs are bounded."
        [test faults::unbounded_log]
    "Durability" Settled "History and live come in order, once each."
        [test faults::history_and_live_interleave_out_of_order]
    "Durability" Settled "Jobs that a session has events of stay listed."
        [test faults::finished_jobs_vanish]
    "Durability" Settled "An event is stored before it is told: a write that fails is no gap."
        [test faults::a_failed_write_leaves_a_gap_in_the_sequence]
    "Durability" Settled "After `kill -9` clients resume, and running jobs end with `INTERNAL_ERROR`."
        [test faults::a_kill_loses_what_was_told]
};
