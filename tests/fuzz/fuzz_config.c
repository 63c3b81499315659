/*
 * fuzz_config.c: any bytes as a configuration file. What the pre-pass accepts libcyaml must load (config.c's
 * invariant), and the struct must hold only values inside their ranges.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../../c_src/server/config_schema.h"

static void check_loaded(const struct server_config *c)
{
    assert_always(c->sockets_count > 0 && c->sockets[0].channels_count > 0);
    for (uint32_t i = 0; i < c->sockets_count; i++)
        assert_always(c->sockets[i].path[0] == '/' && c->sockets[i].timeout_ms >= 1000);
    for (uint32_t i = 0; i < c->services_count; i++)
        assert_always(c->services[i].nodes_count > 0 && c->services[i].module && c->services[i].function);
    assert_always(c->node.epmd == TOGGLE_ON || c->node.epmd == TOGGLE_OFF);
    assert_always(c->drain.batch > 0 && c->limits.max_connections <= 1000000 && c->log.level);
}

/* The pre-pass let it through, and a message without a line came after. */
static bool refused_by_libcyaml(struct slice text, const struct config_report *whole)
{
    struct config_report r;
    struct config_terms terms = {0};
    struct config_lines lines = {0};
    config_report_init(&r);
    bool passed = config_check("F", text, &r, &terms, &lines);
    for (uint32_t i = 0; i < terms.count; i++)
        buf_fini(&terms.at[i].term);
    free(terms.at);
    free(lines.at);
    config_report_fini(&r);
    return passed && whole->text.len > 3 && memcmp(whole->text.data, "F: ", 3) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_report r;
    config_report_init(&r);
    struct server_config *c = config_parse("F", slice_make(data, size), &r);
    assert_always((c == NULL) == (r.errors > 0));
    if (c)
        check_loaded(c);
    else
        assert_always(!refused_by_libcyaml(slice_make(data, size), &r));
    config_free(c);
    config_report_fini(&r);
    return 0;
}
