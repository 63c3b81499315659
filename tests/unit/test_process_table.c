/* test_process_table.c: pids, names, aliases, monitors and links in both directions (D-11, D-12, D-17). */
#include "dist_world.h"

#include "gen_call.h"
#include "json.h"
#include "process_state.h"

#define A "<svc@h:5.1>"
#define A2 "<svc@h:6.1>"
#define REF "&svc@h:1.2.3"

struct actor {
    handle_t self;
    unsigned messages, exits, downs, calls;
    bool kill;
    bool obey;        /* ends when told to exit */
    handle_t monitor; /* of the last down */
    char text[128];   /* last message, reason or request */
};

static void note(struct actor *a, struct slice term)
{
    struct buf b;
    struct term_reader r = term_reader(term);
    buf_init(&b, 0);
    text_print(&b, &r);
    slice_cstr(buf_slice(&b), a->text, sizeof(a->text));
    buf_fini(&b);
}

static void on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct actor *a = owner;
    (void)from;
    assert_true(self == a->self);
    a->messages++;
    note(a, msg);
}

static void on_exit_signal(void *owner, handle_t self, struct slice from, struct slice reason, bool kill)
{
    struct actor *a = owner;
    assert_true(self == a->self);
    assert_true(from.len > 0);
    a->exits++;
    a->kill = kill;
    note(a, reason);
    if (a->obey)
        process_end(world.pt, self, reason);
}

static void on_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    struct actor *a = owner;
    assert_true(self == a->self);
    a->downs++;
    a->monitor = monitor;
    note(a, reason);
}

static void on_call(void *owner, handle_t self, struct dist_link *from, const struct gen_call *call)
{
    struct actor *a = owner;
    uint8_t pid[PROCESS_PID_MAX];
    a->calls++;
    note(a, call->request);
    assert_int_equal(gen_reply(from, process_pid(world.pt, self, pid), call, call->request), BG_OK);
}

static const struct process_ops actor_ops = {.kind = "actor",
                                             .message = on_message,
                                             .exit = on_exit_signal,
                                             .down = on_down,
                                             .call = on_call};
static const struct process_ops plain_ops = {.kind = "plain"};
static struct actor actor;

static int setup(void **state)
{
    memset(&actor, 0, sizeof(actor));
    int rc = world_setup(state);
    actor.self = process_start(world.pt, &actor_ops, &actor);
    return rc == 0 && actor.self != HANDLE_NONE ? 0 : -1;
}

static const char *me(void)
{
    return pid_text(actor.self);
}

static struct slice term(const char *text)
{
    static struct buf b;
    buf_reset(&b);
    put_text(&b, text);
    return buf_slice(&b);
}

/* ---- messages and names ---- */

static void messages_come_by_pid_name_and_alias(void **state)
{
    (void)state;
    feed(textf("{22," A ",%s}", me()), "{hello,1}");
    assert_string_equal(actor.text, "{hello,1}");
    assert_int_equal(process_register(world.pt, actor.self, SLICE_LIT("Elixir.Room")), BG_OK);
    feed("{6," A ",'','Elixir.Room'}", "two");
    assert_string_equal(actor.text, "two");
    struct buf alias;
    buf_init(&alias, 0);
    feed(textf("{33," A ",&" GW ":%u.%u.0}", handle_index(actor.self), handle_generation(actor.self)), "early");
    assert_string_equal(actor.text, "two");
    process_put_alias(world.pt, actor.self, &alias);
    struct term_reader r = term_reader(buf_slice(&alias));
    struct buf text;
    buf_init(&text, 0);
    text_print(&text, &r);
    buf_putc(&text, 0);
    feed(textf("{33," A ",%s}", (char *)text.data), "three");
    assert_string_equal(actor.text, "three");
    process_unalias(world.pt, actor.self);
    feed(textf("{33," A ",%s}", (char *)text.data), "late");
    assert_string_equal(actor.text, "three");
    assert_int_equal(actor.messages, 3);
    assert_int_equal(process_info(world.pt, actor.self).messages, 3);
    assert_slice_is(process_info(world.pt, actor.self).name, "Elixir.Room");
    buf_fini(&text);
    buf_fini(&alias);
}

static void calls_come_apart_and_can_be_answered(void **state)
{
    (void)state;
    feed(textf("{22," A ",%s}", me()), "{'$gen_call',{" A ",[alias|" REF "]},{do,it}}");
    expect_sent(world.l, textf("{33,%s," REF "} | {[alias|" REF "],{do,it}}", me()));
    assert_int_equal(actor.calls, 1);
    assert_int_equal(actor.messages, 0);
}

static void names_are_unique_and_end_with_their_process(void **state)
{
    (void)state;
    handle_t other = process_start(world.pt, &plain_ops, NULL);
    assert_int_equal(process_register(world.pt, actor.self, SLICE_LIT("a")), BG_OK);
    assert_int_equal(process_register(world.pt, actor.self, SLICE_LIT("b")), BG_OK);
    assert_int_equal(process_register(world.pt, other, SLICE_LIT("a")), BG_EEXIST);
    assert_int_equal(process_register(world.pt, other, SLICE_LIT("rex")), BG_EEXIST);
    assert_int_equal(process_register(world.pt, other, SLICE_NONE), BG_EINVAL);
    assert_true(process_whereis(world.pt, SLICE_LIT("b")) == actor.self);
    process_end_atom(world.pt, actor.self, "normal");
    assert_true(process_whereis(world.pt, SLICE_LIT("a")) == HANDLE_NONE);
    assert_int_equal(process_register(world.pt, other, SLICE_LIT("a")), BG_OK);
    assert_int_equal(process_register(world.pt, actor.self, SLICE_LIT("c")), BG_EGONE);
}

static void stale_pid_reaches_nobody(void **state)
{
    (void)state;
    handle_t old = actor.self;
    process_end_atom(world.pt, old, "normal");
    process_end_atom(world.pt, old, "normal");
    actor.self = process_start(world.pt, &actor_ops, &actor);
    assert_int_equal(handle_index(old), handle_index(actor.self));
    feed(textf("{22," A ",%s}", pid_text(old)), "hello");
    feed(textf("{26," A ",%s}", pid_text(old)), "kill");
    assert_int_equal(actor.messages + actor.exits, 0);
    assert_int_equal(world.metrics.value[METRIC_LINK_UNKNOWN_NAME], 1);
}

static void sending_names_the_sender(void **state)
{
    (void)state;
    struct buf to;
    buf_init(&to, 0);
    put_text(&to, A);
    assert_int_equal(process_send_pid(world.pt, actor.self, world.l, buf_slice(&to), term("{hi}")), BG_OK);
    expect_sent(world.l, "{2,''," A "} | {hi}");
    assert_int_equal(process_send_name(world.pt, actor.self, world.l, SLICE_LIT("room"), term("{hi}")), BG_OK);
    expect_sent(world.l, textf("{6,%s,'',room} | {hi}", me()));
    world.l->refuse = true;
    assert_int_equal(process_send_pid(world.pt, actor.self, world.l, buf_slice(&to), term("{hi}")), BG_EGONE);
    assert_int_equal(process_send_pid(world.pt, actor.self, NULL, buf_slice(&to), term("{hi}")), BG_EGONE);
    buf_fini(&to);
}

/* ---- D-11: monitors on us ---- */

static void monitor_of_nobody_is_noproc(void **state)
{
    (void)state;
    feed("{19," A ",nobody," REF "}", NULL);
    expect_sent(world.l, "{21,nobody," A "," REF ",noproc}");
    feed("{19," A ",<" GW ":60000.1>," REF "}", NULL);
    expect_sent(world.l, "{21,<" GW ":60000.1>," A "," REF ",noproc}");
    /* A pid of an earlier start of this node. */
    feed("{19," A ",<old@h:1.1>," REF "}", NULL);
    expect_sent(world.l, "{21,<old@h:1.1>," A "," REF ",noproc}");
    assert_int_equal(process_relations(world.pt), 0);
}

static void monitor_fires_exactly_once_with_what_was_monitored(void **state)
{
    (void)state;
    assert_int_equal(process_register(world.pt, actor.self, SLICE_LIT("room")), BG_OK);
    feed(textf("{19," A ",%s,&svc@h:1}", me()), NULL);
    feed("{19," A2 ",room,&svc@h:2.3.4.5.6}", NULL);
    expect_nothing(world.l);
    assert_int_equal(process_relations(world.pt), 2);
    assert_int_equal(process_info(world.pt, actor.self).relations, 2);
    process_end(world.pt, actor.self, term("{shutdown,1}"));
    expect_sent(world.l, textf("{21,%s," A ",&svc@h:1,{shutdown,1}}", me()));
    expect_sent(world.l, "{21,room," A2 ",&svc@h:2.3.4.5.6,{shutdown,1}}");
    expect_nothing(world.l);
    assert_int_equal(process_relations(world.pt), 0);
}

static void demonitor_is_honoured(void **state)
{
    (void)state;
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    feed(textf("{20," A ",%s," REF "}", me()), NULL);
    feed(textf("{20," A ",%s," REF "}", me()), NULL);
    feed("{20," A ",rex,&svc@h:77}", NULL);
    process_end_atom(world.pt, actor.self, "normal");
    expect_nothing(world.l);
}

static void a_reference_is_used_for_one_monitor_only(void **state)
{
    (void)state;
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    feed("{19," A ",rex," REF "}", NULL);
    assert_true(world.l->closed);
}

/* D-17. */
static void shutdown_fires_everything(void **state)
{
    (void)state;
    feed("{19," A ",net_kernel," REF "}", NULL);
    feed(textf("{1," A ",%s}", me()), NULL);
    process_end_all(world.pt, "shutdown");
    expect_sent(world.l, "{21,net_kernel," A "," REF ",shutdown}");
    expect_sent(world.l, textf("{3,%s," A ",shutdown}", me()));
    expect_nothing(world.l);
    assert_int_equal(process_count(world.pt), 0);
}

/* ---- D-12: links and exits ---- */

static void link_to_nobody_is_exit_noproc(void **state)
{
    (void)state;
    feed("{1," A ",<" GW ":60000.1>}", NULL);
    expect_sent(world.l, "{3,<" GW ":60000.1>," A ",noproc}");
}

static void link_breaks_once_in_both_directions(void **state)
{
    (void)state;
    feed(textf("{1," A ",%s}", me()), NULL);
    feed(textf("{1," A ",%s}", me()), NULL);
    assert_int_equal(process_relations(world.pt), 1);
    feed(textf("{24," A ",%s}", me()), "{went,away}");
    assert_int_equal(actor.exits, 1);
    assert_string_equal(actor.text, "{went,away}");
    assert_false(actor.kill);
    feed(textf("{24," A ",%s}", me()), "again"); /* no link any more: not for us */
    assert_int_equal(actor.exits, 1);
    feed(textf("{1," A ",%s}", me()), NULL);
    process_end_atom(world.pt, actor.self, "bye");
    expect_sent(world.l, textf("{3,%s," A ",bye}", me()));
    expect_nothing(world.l);
}

static void unlink_is_always_acknowledged(void **state)
{
    (void)state;
    feed(textf("{35,7," A ",%s}", me()), NULL);
    expect_sent(world.l, textf("{36,7,%s," A "}", me()));
    feed(textf("{1," A ",%s}", me()), NULL);
    feed(textf("{35,4000000000," A ",%s}", me()), NULL);
    expect_sent(world.l, textf("{36,4000000000,%s," A "}", me()));
    feed("{35,9," A ",<" GW ":60000.1>}", NULL);
    expect_sent(world.l, "{36,9,<" GW ":60000.1>," A "}");
    feed(textf("{1," A ",%s}", me()), NULL);
    feed(textf("{4," A ",%s}", me()), NULL); /* the form without an id has no ack */
    expect_nothing(world.l);
    assert_int_equal(process_relations(world.pt), 0);
    process_end_atom(world.pt, actor.self, "normal");
    expect_nothing(world.l);
}

static void exit2_reaches_the_owner_and_says_when_it_is_kill(void **state)
{
    (void)state;
    feed(textf("{8," A ",%s,stop}", me()), NULL);
    assert_false(actor.kill);
    feed(textf("{26," A ",%s}", me()), "kill");
    assert_true(actor.kill);
    assert_int_equal(actor.exits, 2);
    /* The reason kill over a link is an ordinary reason. */
    feed(textf("{1," A ",%s}", me()), NULL);
    feed(textf("{24," A ",%s}", me()), "kill");
    assert_false(actor.kill);
    actor.obey = true;
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    feed(textf("{8," A ",%s,stop}", me()), NULL);
    expect_sent(world.l, textf("{21,%s," A "," REF ",stop}", me()));
    assert_false(process_alive(world.pt, actor.self));
}

static void process_without_an_exit_callback_behaves_as_on_a_beam(void **state)
{
    (void)state;
    handle_t p = process_start(world.pt, &plain_ops, NULL);
    feed(textf("{8," A ",%s,normal}", pid_text(p)), NULL);
    assert_true(process_alive(world.pt, p));
    feed(textf("{1," A ",%s}", pid_text(p)), NULL);
    feed(textf("{24," A2 ",%s}", pid_text(p)), "not_linked");
    assert_true(process_alive(world.pt, p));
    feed(textf("{8," A ",%s,kill}", pid_text(p)), NULL);
    assert_false(process_alive(world.pt, p));
    expect_sent(world.l, textf("{3,%s," A ",killed}", pid_text(p)));
}

static void described_row(void *owner, handle_t self, struct process_row *row)
{
    (void)owner;
    (void)self;
    row->waiting = 7;
    process_row_about(row, SLICE_LIT("h\xc3\xa9llo "));
    for (int i = 0; i < 40; i++)
        process_row_about(row, SLICE_LIT("\xe2\x82\xac\xe2\x82\xac"));
}

static void described_state(void *owner, handle_t self, struct process_state *st)
{
    (void)owner;
    process_state_text(st, "topic", SLICE_LIT("a:b"));
    process_state_text(st, "user", SLICE_NONE);
    process_state_pid(st, "me", self);
}

static const struct process_ops described_ops = {.kind = "described", .row = described_row, .state = described_state};

/* D-21: sys:get_state and sys:get_status are answered from what the actor says; what would change it is refused. */
static void system_messages_are_answered_from_the_state(void **state)
{
    (void)state;
    handle_t p = process_start(world.pt, &described_ops, NULL);
    char me_text[64];
    snprintf(me_text, sizeof(me_text), "%s", pid_text(p));
    feed(textf("{22," A ",%s}", me_text), "{system,{" A ",tag},get_state}");
    expect_sent(world.l, textf("{2,''," A "} | {tag,#{kind=>described,messages=>1,topic=><<\"a:b\">>,user=>nil,me=>%s}}", me_text));
    feed(textf("{22," A ",%s}", me_text), "{system,{" A ",tag},suspend}");
    expect_sent(world.l, "{2,''," A "} | {tag,{error,{unknown_system_msg,suspend}}}");
    feed(textf("{22," A ",%s}", me()), "{system,{" A ",tag},get_state}");
    expect_sent(world.l, "{2,''," A "} | {tag,#{kind=>actor,messages=>1}}");
    assert_int_equal(actor.calls, 0); /* they are not its own affair */
}

/* A row is cut between characters, whatever is appended. */
static void rows_are_cut_to_whole_characters(void **state)
{
    (void)state;
    struct process_row row = process_row(world.pt, process_start(world.pt, &described_ops, NULL));
    assert_int_equal(row.waiting, 7);
    assert_true(strlen(row.about) < sizeof(row.about) && strlen(row.about) > sizeof(row.about) - 5);
    assert_int_equal(utf8_valid_prefix(row.about, strlen(row.about)), strlen(row.about));
    process_row_about(&row, SLICE_LIT("\xff"));
    assert_int_equal(utf8_valid_prefix(row.about, strlen(row.about)), strlen(row.about));
    row = process_row(world.pt, HANDLE_NONE);
    assert_string_equal(row.about, "");
}

static void system_processes_cannot_be_killed(void **state)
{
    (void)state;
    uint32_t before = process_count(world.pt), pos = 0;
    for (handle_t p; (p = process_next(world.pt, &pos)) != HANDLE_NONE;)
        feed(textf("{26," A ",%s}", pid_text(p)), "kill");
    assert_int_equal(process_count(world.pt), before);
    assert_int_equal(actor.exits, 1);
}

/* ---- what we hold on others ---- */

static void our_monitor_fires_once(void **state)
{
    (void)state;
    struct buf to;
    buf_init(&to, 0);
    put_text(&to, A);
    handle_t m = process_monitor(world.pt, actor.self, world.l, buf_slice(&to));
    assert_true(m != HANDLE_NONE);
    const char *ref = textf("&" GW ":%u.%u.0", handle_index(m), handle_generation(m));
    expect_sent(world.l, textf("{19,%s," A ",%s}", me(), ref));
    struct dist_link *other = fake_link_up(1, "evil@h");
    feed_from(other, textf("{28,<evil@h:1.1>,%s,%s}", me(), ref), "lie");
    assert_int_equal(actor.downs, 0);
    feed(textf("{28," A ",%s,%s}", me(), ref), "gone");
    feed(textf("{28," A ",%s,%s}", me(), ref), "again");
    assert_int_equal(actor.downs, 1);
    assert_true(actor.monitor == m);
    assert_string_equal(actor.text, "gone");
    buf_fini(&to);
}

static void names_are_monitored_and_demonitored(void **state)
{
    (void)state;
    handle_t m = process_monitor(world.pt, actor.self, world.l, term("{'Elixir.Room',svc@h}"));
    const char *ref = textf("&" GW ":%u.%u.0", handle_index(m), handle_generation(m));
    expect_sent(world.l, textf("{19,%s,'Elixir.Room',%s}", me(), ref));
    process_demonitor(world.pt, m);
    process_demonitor(world.pt, m);
    expect_sent(world.l, textf("{20,%s,'Elixir.Room',%s}", me(), ref));
    expect_nothing(world.l);
    m = process_monitor(world.pt, actor.self, world.l, term("room"));
    ref = textf("&" GW ":%u.%u.0", handle_index(m), handle_generation(m));
    expect_sent(world.l, textf("{19,%s,room,%s}", me(), ref));
    process_end_atom(world.pt, actor.self, "normal");
    expect_sent(world.l, textf("{20,%s,room,%s}", me(), ref));
}

/* A BEAM drops the connection of a node that monitors or links a pid of a third one. */
static void pids_of_a_third_node_are_refused(void **state)
{
    (void)state;
    assert_true(process_monitor(world.pt, actor.self, world.l, term("<third@h:1.1>")) == HANDLE_NONE);
    assert_true(process_monitor(world.pt, actor.self, world.l, term("17")) == HANDLE_NONE);
    assert_true(process_monitor(world.pt, actor.self, NULL, term("room")) == HANDLE_NONE);
    assert_int_equal(process_link(world.pt, actor.self, world.l, term("<third@h:1.1>")), BG_EINVAL);
    expect_nothing(world.l);
    assert_int_equal(process_relations(world.pt), 0);
}

static void our_links_break_and_are_taken_back(void **state)
{
    (void)state;
    assert_int_equal(process_link(world.pt, actor.self, world.l, term(A)), BG_OK);
    expect_sent(world.l, textf("{1,%s," A "}", me()));
    process_unlink(world.pt, actor.self, world.l, term(A));
    expect_sent(world.l, textf("{35,1,%s," A "}", me()));
    feed(textf("{24," A ",%s}", me()), "late");
    assert_int_equal(actor.exits, 0);
    assert_int_equal(process_link(world.pt, actor.self, world.l, term(A)), BG_OK);
    feed(textf("{36,1," A ",%s}", me()), NULL);
    feed(textf("{24," A ",%s}", me()), "gone");
    assert_int_equal(actor.exits, 1);
    world.l->refuse = true;
    assert_int_equal(process_link(world.pt, actor.self, world.l, term(A)), BG_EGONE);
    assert_int_equal(process_relations(world.pt), 0);
}

/* ---- lost links ---- */

/* A link that cannot be told of is none; one that is there already needs no telling, and stays. */
static void a_link_that_takes_no_more_leaves_links_as_they_were(void **state)
{
    (void)state;
    world.l->refuse = true;
    assert_int_equal(process_link(world.pt, actor.self, world.l, term(A)), BG_EGONE);
    assert_int_equal(process_relations(world.pt), 0);
    expect_nothing(world.l);
    feed(textf("{1," A ",%s}", me()), NULL);
    assert_int_equal(process_link(world.pt, actor.self, world.l, term(A)), BG_OK);
    assert_int_equal(process_relations(world.pt), 1);
    expect_nothing(world.l);
}

/* What a remote process is related to ours by, as process_info/2 has it. */
static void expect_relations(enum process_relation which, uint32_t max, const char *want)
{
    struct buf out, text;
    buf_init(&out, 0);
    buf_init(&text, 0);
    process_put_relations(world.pt, actor.self, which, max, &out);
    struct term_reader r = term_reader(buf_slice(&out));
    text_print(&text, &r);
    buf_putc(&text, '\0');
    assert_string_equal((const char *)text.data, want);
    buf_fini(&out);
    buf_fini(&text);
}

static void relations_are_shown_by_kind_and_cut(void **state)
{
    (void)state;
    expect_relations(PROCESS_LINKS, 10, "[]");
    feed(textf("{1," A ",%s}", me()), NULL);
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    assert_true(process_monitor(world.pt, actor.self, world.l, term("store")) != HANDLE_NONE);
    assert_true(process_monitor(world.pt, actor.self, world.l, term(A)) != HANDLE_NONE);
    expect_relations(PROCESS_LINKS, 10, "[" A "]");
    expect_relations(PROCESS_MONITORED_BY, 10, "[" A "]");
    expect_relations(PROCESS_MONITORS, 10, "[{process,store},{process," A "}]");
    expect_relations(PROCESS_MONITORS, 1, "[{process,store}]");
    assert_int_equal(process_info(world.pt, actor.self).relations, 4);
}

static void lost_link_takes_its_relations_along_and_tells_our_side(void **state)
{
    (void)state;
    struct dist_link *other = fake_link_up(1, "other@h");
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    feed(textf("{1," A ",%s}", me()), NULL);
    handle_t m = process_monitor(world.pt, actor.self, world.l, term("room"));
    feed_from(other, textf("{19,<other@h:1.1>,%s,&other@h:1}", me()), NULL);
    free(fake_sent(world.l));
    link_down(world.l);
    assert_int_equal(actor.downs, 1);
    assert_true(actor.monitor == m);
    assert_int_equal(actor.exits, 1);
    assert_string_equal(actor.text, "noconnection");
    assert_int_equal(process_relations(world.pt), 1);
    expect_nothing(world.l);
    link_down(other);
    assert_int_equal(process_relations(world.pt), 0);
    /* The same references may come again over the next link. */
    world.l = fake_link_up(0, "svc@h");
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    process_end_atom(world.pt, actor.self, "normal");
    expect_sent(world.l, textf("{21,%s," A "," REF ",normal}", me()));
}

static void owner_may_end_its_process_while_its_link_goes_down(void **state)
{
    (void)state;
    actor.obey = true;
    feed(textf("{1," A ",%s}", me()), NULL);
    feed(textf("{1," A2 ",%s}", me()), NULL);
    feed(textf("{19," A ",%s," REF "}", me()), NULL);
    assert_true(process_monitor(world.pt, actor.self, world.l, term("room")) != HANDLE_NONE);
    free(fake_sent(world.l));
    link_down(world.l);
    assert_int_equal(actor.exits, 1);
    assert_false(process_alive(world.pt, actor.self));
    assert_int_equal(process_relations(world.pt), 0);
}

/* ---- bounds ---- */

static void too_many_relations_are_answered_system_limit(void **state)
{
    (void)state;
    unsigned limit = WORLD_PROCESSES * 4 + (1 << 16);
    world.l->discard = true;
    for (unsigned i = 0; i < limit; i++)
        feed(textf("{19," A ",%s,&svc@h:%u.1}", me(), i), NULL);
    assert_int_equal(process_relations(world.pt), limit);
    world.l->discard = false;
    feed(textf("{19," A ",%s,&svc@h:5.2}", me()), NULL);
    expect_sent(world.l, textf("{21,%s," A ",&svc@h:5.2,system_limit}", me()));
    feed(textf("{1," A ",%s}", me()), NULL);
    expect_sent(world.l, textf("{3,%s," A ",system_limit}", me()));
    feed("{29,&svc@h:5.3," A "," A ",{erpc,execute_call,4},[monitor]}", "[1,erlang,node,[]]");
    expect_sent(world.l, "{31,&svc@h:5.3," A ",0,system_limit}");
    /* Room for the monitor but not for the link: neither is set, and nothing is told of the process but that. */
    feed(textf("{20," A ",%s,&svc@h:7.1}", me()), NULL);
    feed("{29,&svc@h:5.4," A "," A ",{erpc,execute_call,4},[monitor,link]}", "[1,erlang,node,[]]");
    expect_sent(world.l, "{31,&svc@h:5.4," A ",0,system_limit}");
    expect_nothing(world.l);
    assert_int_equal(process_relations(world.pt), limit - 1);
    assert_false(world.l->closed);
    link_down(world.l);
    assert_int_equal(process_relations(world.pt), 0);
}

static void full_table_starts_no_process(void **state)
{
    (void)state;
    while (process_start(world.pt, &plain_ops, NULL) != HANDLE_NONE)
        ;
    assert_int_equal(process_count(world.pt), WORLD_PROCESSES);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(messages_come_by_pid_name_and_alias),
        TEST(calls_come_apart_and_can_be_answered),
        TEST(names_are_unique_and_end_with_their_process),
        TEST(stale_pid_reaches_nobody),
        TEST(sending_names_the_sender),
        TEST(monitor_of_nobody_is_noproc),
        TEST(monitor_fires_exactly_once_with_what_was_monitored),
        TEST(demonitor_is_honoured),
        TEST(a_reference_is_used_for_one_monitor_only),
        TEST(shutdown_fires_everything),
        TEST(link_to_nobody_is_exit_noproc),
        TEST(link_breaks_once_in_both_directions),
        TEST(unlink_is_always_acknowledged),
        TEST(exit2_reaches_the_owner_and_says_when_it_is_kill),
        TEST(process_without_an_exit_callback_behaves_as_on_a_beam),
        TEST(system_processes_cannot_be_killed),
        TEST(system_messages_are_answered_from_the_state),
        TEST(rows_are_cut_to_whole_characters),
        TEST(our_monitor_fires_once),
        TEST(names_are_monitored_and_demonitored),
        TEST(pids_of_a_third_node_are_refused),
        TEST(our_links_break_and_are_taken_back),
        TEST(a_link_that_takes_no_more_leaves_links_as_they_were),
        TEST(relations_are_shown_by_kind_and_cut),
        TEST(lost_link_takes_its_relations_along_and_tells_our_side),
        TEST(owner_may_end_its_process_while_its_link_goes_down),
        TEST(too_many_relations_are_answered_system_limit),
        TEST(full_table_starts_no_process),
    };
    return cmocka_run_group_tests_name("process_table", tests, NULL, NULL);
}
