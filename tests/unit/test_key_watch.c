/* test_key_watch.c: the file with a JWT method's keys changes while the gateway runs. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../c_src/server/key_watch.h"
#include "log.h"

#define FIRST "tests/data/tokens/jwks.json"
#define SECOND "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}]}"
enum { LOOK_MS = 20, PATIENCE_MS = 10000 };

static uv_loop_t loop;
static struct metrics metrics;
static char path[] = "/tmp/beamgate-keys-XXXXXX";
static struct auth_settings settings;
static struct auth_method method;

/* In one step, as key servers' clients do it. */
static void write_file(const char *text)
{
    char next[64];
    snprintf(next, sizeof(next), "%s.next", path);
    FILE *f = fopen(next, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(next, path), 0);
}

static int begin(void **state)
{
    (void)state;
    static char type[] = "jwt";
    struct err e;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_file(SECOND);
    settings = (struct auth_settings){.type = type, .jwks_file = path};
    log_set_level(LOG_ERROR);
    assert_int_equal(uv_loop_init(&loop), 0);
    return auth_setup(&settings, &method, &e);
}

static int end(void **state)
{
    (void)state;
    auth_clear(&method, 1);
    unlink(path);
    return uv_loop_close(&loop);
}

static void turn_until_keys(uint32_t count, uint64_t failures)
{
    uint64_t until = clock_now_us() + PATIENCE_MS * UINT64_C(1000);
    while (jwt_keys_count(method.jwt_keys) != count || metrics.value[METRIC_KEY_FILE_FAILURES] != failures) {
        assert_true(clock_now_us() < until);
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void copy_first(void)
{
    static char text[64 * 1024];
    FILE *f = fopen(FIRST, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    write_file(text);
}

static void keys_follow_their_file_and_a_wrong_file_changes_nothing(void **state)
{
    (void)state;
    struct key_watch *w = key_watch_new(&loop, &metrics, &settings, &method, LOOK_MS);
    assert_non_null(w);
    assert_int_equal(jwt_keys_count(method.jwt_keys), 1);
    key_watch_now(w); /* as SIGHUP does; two at once are two reads, one after the other */
    key_watch_now(w);
    copy_first();
    turn_until_keys(5, 0);
    write_file("{\"keys\":[");
    turn_until_keys(5, 1);
    assert_int_equal(unlink(path), 0);
    for (int i = 0; i < 100; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(jwt_keys_count(method.jwt_keys), 5);
    write_file(SECOND);
    turn_until_keys(1, metrics.value[METRIC_KEY_FILE_FAILURES]);
    key_watch_now(w);
    key_watch_free(w); /* waits for the read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_follow_their_file_and_a_wrong_file_changes_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
