/* fuzz_ctl.c: whatever is written to the command line's socket is a request or a refusal, and every slice of it lies in
 * its own text; and any term that passes its check has a form in JSON that the scanner takes. */
#include <stdlib.h>

#include "../../c_src/server/ctl.h"
#include "json.h"
#include "term.h"

static void check_slice(const struct ctl_request *r, struct slice s)
{
    const char *begin = (const char *)r->text.data, *end = begin + r->text.len;
    if (s.ptr && (s.ptr < begin || s.ptr + s.len > end))
        abort();
}

static void try_request(struct slice line)
{
    struct ctl_request r;
    struct err e;
    uint64_t n;
    if (ctl_request_parse(line, &r, &e) == BG_OK) {
        check_slice(&r, r.command);
        (void)ctl_find(r.command);
        for (unsigned i = 0; i < r.argc; i++)
            check_slice(&r, r.args[i]);
        for (unsigned i = 0; i < r.options_count; i++)
            check_slice(&r, r.options[i].value);
        if (ctl_request_number(&r, "timeout", 1, 1000, &n) == BG_OK && n > 1000)
            abort();
    }
    ctl_request_fini(&r);
}

static void try_term(struct slice data)
{
    static const struct json_limits limits = {.max_depth = JSON_DEPTH_MAX};
    struct err e;
    size_t used;
    struct buf out;
    if (term_check(data.ptr, data.len, TERM_DEPTH_DEFAULT, &used, &e) != BG_OK)
        return;
    buf_init(&out, 0);
    ctl_put_term(slice_make(data.ptr, used), &out);
    struct json_reader r = json_reader(buf_slice(&out));
    struct slice raw;
    int rc = json_value(&r, &limits, &raw, &e);
    if (rc != BG_OK && rc != BG_ELIMIT) /* a number of thousands of digits is one all the same */
        abort();
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_request(slice_make(data, size));
    try_term(slice_make(data, size));
    return 0;
}
