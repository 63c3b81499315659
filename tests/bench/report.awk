# Tables from the lines of results.jsonl (run.sh). Where a case has several windows, the one in which other processes
# of the machine worked least stands for it; starts, and what is measured in turns (the sizes of the function table, clients
# beside rpc), are represented by their median.

function number(text, key) {
    if (!match(text, "\"" key "\":[-0-9.]+"))
        return "-"
    text = substr(text, RSTART, RLENGTH)
    sub(/.*:/, "", text)
    return text
}

function text_of(text, key) {
    match(text, "\"" key "\":\"[^\"]*\"")
    text = substr(text, RSTART, RLENGTH)
    sub(/^[^:]*:"/, "", text)
    sub(/"$/, "", text)
    return text
}

# One number of one process: {"gateway":{...,"key":number,...}}
function process(text, name, key) {
    if (!match(text, "\"" name "\":[{][^}]*[}]"))
        return "-"
    return number(substr(text, RSTART, RLENGTH), key)
}

function fixed(v, digits) { return v == "-" ? "-" : sprintf("%." digits "f", v) }

# The line of the case whose field[] is the least (at 0) or the median (at 0.5).
function pick(key, at,    i, j, n, less, found) {
    n = count[key]
    for (i = 1; i <= n; i++) {
        less = 0
        for (j = 1; j <= n; j++)
            if (field[key, j] + 0 < field[key, i] + 0 || (field[key, j] + 0 == field[key, i] + 0 && j < i))
                less++
        if (less == int((n - 1) * at))
            found = i
    }
    return line[key, found]
}

{
    label = text_of($0, "label")
    key = label " " number($0, "connections")
    if (!(key in count))
        order[++keys] = key
    n = ++count[key]
    line[key, n] = $0
    field[key, n] = number($0, "others_percent")
    if (label == "start")
        field[key, n] = number($0, "answered_ms")
    if (label ~ /^(echo_of|budget)_/)
        field[key, n] = process($0, "gateway", "us_per_request")
    if (label ~ /^echo_(alone|rpc_.*)$/)
        field[key, n] = number($0, "p99_us")
}

function load_row(key,    l, us, top) {
    l = pick(key, key ~ /^echo_(of_|alone|rpc_)/ ? 0.5 : 0)
    us = process(l, "gateway", "us_per_request")
    top = ("ceiling " number(l, "connections")) in count ? \
        process(pick("ceiling " number(l, "connections"), 0), "gateway", "us_per_request") : 0
    cpu[key] = us
    printf "| %-14s | %5s | %9s | %7s | %7s | %8s | %6s | %8s | %8s | %7s | %7s |\n", text_of(l, "label"),
        number(l, "connections"), fixed(number(l, "per_second"), 0), fixed(number(l, "p50_us"), 0),
        fixed(number(l, "p99_us"), 0), fixed(us, 2), fixed(process(l, "gateway", "user_percent"), 0),
        fixed(process(l, "node", "us_per_request"), 2), fixed(process(l, "loadgen", "us_per_request"), 2),
        (top > 0 ? sprintf("%.2f", us / top) : "-"), fixed(number(l, "others_percent"), 0)
}

function budget_heading() {
    if (budget_rows++)
        return
    print "\n| budget                                               |  measured |     limit | ratio |"
    print "| ---                                                  |       --: |       --: |   --: | ---"
}

function budget(what, have, limit, unit) {
    if (have == "" || have == "-")
        return
    budget_heading()
    printf "| %-52s | %9s | %9s | %5.2f | %s\n", what, fixed(have, 2) unit, limit unit, have / limit,
        (have + 0 <= limit + 0 ? "met |" : "missed |")
}

# The values of n windows, sorted into list[].
function sort_into(list, n,    i, j, v) {
    for (i = 2; i <= n; i++) {
        v = list[i]
        for (j = i; j > 1 && list[j - 1] > v; j--)
            list[j] = list[j - 1]
        list[j] = v
    }
}

function verdict(have, limit) { return have + 0 <= limit + 0 ? "met" : "missed" }

# The median of n values, with the least and the greatest, and what is to be said of a limit for them. MEDIAN is it alone.
function spread(list, n, digits) {
    sort_into(list, n)
    MEDIAN = list[int((n + 1) / 2)]
    return sprintf("%." digits "f (%." digits "f to %." digits "f)", MEDIAN, list[1], list[n])
}

function within(limit, digits) { return limit ? sprintf("%." digits "f, %s", limit, verdict(MEDIAN, limit)) : "-" }

# A budget of CPU time, in time and beside what is below it, of the same round: a bare echo; a bare echo and a bare rex call together. The times
# were set where these cost 3.4 to 4.5 and 4.4 to 5.4 us; what part of the dearer ones they allow can be compared between machines, and
# hours of one.
function cpu_budget(what, label, connections, limit,    key, echo, rex, n, i, us, echoes, floors, line) {
    key = label " " connections
    echo = "budget_echo " connections
    rex = "budget_rex " connections
    n = count[key] < count[echo] ? count[key] : count[echo]
    if (n == 0)
        return
    for (i = 1; i <= n; i++) {
        us[i] = field[key, i] + 0
        echoes[i] = field[key, i] / field[echo, i]
        floors[i] = field[key, i] / (field[echo, i] + field[rex, i])
    }
    line = sprintf("| %-45s | %5d | %21s ", what, connections, spread(us, n, 1))
    line = line sprintf("| %-10s ", within(limit, 0))
    line = line sprintf("| %19s ", spread(echoes, n, 2)) sprintf("| %-12s ", within(limit / 4.5, 2))
    line = line sprintf("| %19s ", spread(floors, n, 2)) sprintf("| %-12s |", within(limit / (4.5 + 5.4), 2))
    print line
}

function cpu_budgets(    c) {
    if (!(("budget_echo " 64) in count))
        return
    print "\n| CPU per call, medians of the rounds           | conns |    us (least to most) | budget     |         bare echoes | budget       |    echo and rex call | budget       |"
    print "| ---                                           |   --: |                   --: | ---        |                 --: | ---          |                  --: | ---          |"
    for (c = 64; c <= 256; c *= 4) {
        cpu_budget("a bare echo, no gateway", "budget_echo", c, 0)
        cpu_budget("a bare rex call, no gateway", "budget_rex", c, 0)
        cpu_budget("echo", "budget_call", c, 8)
        cpu_budget("five arguments, a permission, two rate limits", "budget_limited", c, 8)
        cpu_budget("list_users, 50 maps", "budget_maps", c, 16)
    }
}

# Windows of two cases that were measured in turns, by pairs: the median of how much more the first has.
function growth(what, key, base, limit,    i, n, sorted) {
    n = count[key] < count[base] ? count[key] : count[base]
    for (i = 1; i <= n; i++)
        sorted[i] = field[key, i] / field[base, i]
    sort_into(sorted, n)
    if (n == 0)
        return
    budget_heading()
    printf "| %-52s | %8.0f %% | %9s | %5s | median of %d pairs, %.0f to %.0f %%\n", what,
        (sorted[int((n + 1) / 2)] - 1) * 100, limit, "", n, (sorted[1] - 1) * 100, (sorted[n] - 1) * 100
}

function load_rows(    i, any) {
    for (i = 1; i <= keys; i++) {
        if (order[i] ~ /^(idle |start |budget_)/)
            continue
        if (!any++)
            load_heading()
        load_row(order[i])
    }
}

function load_heading() {
    print "| case           | conns | answers/s |  p50 us |  p99 us | gw us/rq | user % | node us  | load us  | x echo  | others% |"
    print "| ---            |   --: |       --: |     --: |     --: |      --: |    --: |      --: |      --: |     --: |     --: |"
}

END {
    load_rows()
    for (i = 1; i <= keys; i++) {
        l = pick(order[i], 0.5)
        if (order[i] ~ /^idle /) {
            per_conn = number(l, "bytes_per_connection")
            printf "\nidle: %s joined connections, %d bytes each (%d -> %d kB), %s %% of a core, joined at %s us each\n",
                number(l, "connections"), per_conn, number(l, "rss_before_kb"), number(l, "rss_after_kb"),
                number(l, "idle_cpu_percent"), number(l, "us_per_join")
        }
        if (order[i] ~ /^start /) {
            start_ms = number(l, "answered_ms")
            rest_kb = number(l, "rss_kb")
            printf "\nstart: listening after %s ms, first right answer after %s ms, %s ms of CPU, %d kB resident then\n",
                number(l, "listening_ms"), start_ms, number(l, "cpu_ms"), rest_kb
        }
    }
    cpu_budgets()
    if (cpu["echo_of_10 64"] > 0 && cpu["echo_of_10000 64"] > 0) {
        budget_heading()
        printf "| %-52s | %8.0f %% | %9s | %5s |\n", "growth of echo from 10 to 10,000 functions",
            (cpu["echo_of_10000 64"] / cpu["echo_of_10 64"] - 1) * 100, "none", ""
    }
    growth("clients' p99: 5,000 rpc/s here, or to another node", "echo_rpc_gateway 64", "echo_rpc_service 64", "20 %")
    growth("clients' p99: 5,000 rpc/s here, or no calls at all", "echo_rpc_gateway 64", "echo_alone 64", "20 %")
    growth("clients' p99: 5,000 rpc/s elsewhere, or none", "echo_rpc_service 64", "echo_alone 64", "")
    budget("memory per idle joined connection", per_conn == "" ? "" : per_conn / 1024, 3, " KB")
    budget("memory at rest", rest_kb == "" ? "" : rest_kb / 1024, 12, " MB")
    budget("start to first right answer", start_ms, 150, " ms")
}
