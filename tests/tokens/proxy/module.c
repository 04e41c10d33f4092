/* A PKCS#11 module that forwards every call to another one: it notes PINs and calls, takes its time, and answers wrongly.
 *
 * Environment:
 *   PROXY_MODULE       the other module, instead of the one it was built for
 *   PROXY_CONF         what SOFTHSM2_CONF is for the other module, instead of that of the process
 *   PROXY_PINS         a file; each PIN becomes a line "C_Login 1234 0x0 forwarded" once the other module has answered,
 *                      with the CK_RV that the caller gets; "kept" if the other module was not asked
 *   PROXY_CALLS        a file; each call becomes a line with its name
 *   PROXY_LOGIN_TAKES  seconds by which C_Login takes longer, after that line; a signal ends them early
 *   PROXY_USER_TYPE    the number of the user type that stands for CKU_USER, which is refused
 *   PROXY_SIGN_TAKES   seconds by which C_Sign takes longer
 *   PROXY_RULES        a file of rules, read anew before each call; see rules.h
 *
 * Build with -DREAL_MODULE="\"/path/of/the/other/module.so\"". This file is for tests only: no module that serves
 * people may write a PIN down.
 */
#define _GNU_SOURCE
#include "functions.h"
#include "notes.h"

static function_list *real, forwarded;
static int signing, most_signing;

static ulong forward(int place, ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h)
{
    return ((function)real->call[place])(a, b, c, d, e, f, g, h);
}

#include "rules.h"
#include "slots.h"
#include "effects.h"

static ulong sign(const ulong *x)
{
    int now = __atomic_add_fetch(&signing, 1, __ATOMIC_SEQ_CST), most = most_signing;
    while (now > most && !__atomic_compare_exchange_n(&most_signing, &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    take_time("PROXY_SIGN_TAKES");
    ulong rv = forward(Sign, x[0], x[1], x[2], x[3], x[4], 0, 0, 0);
    __atomic_sub_fetch(&signing, 1, __ATOMIC_SEQ_CST);
    return rv;
}

/* With PROXY_USER_TYPE, the user of the token is of this type, a number of its maker, and CKU_USER is none. */
static ulong login(const ulong *x)
{
    const char *own = setting("PROXY_USER_TYPE");
    if (own && x[1] == 1)
        return 0x103; /* CKR_USER_TYPE_INVALID */
    ulong type = own && x[1] == strtoul(own, NULL, 0) ? 1 : x[1];
    return forward(Login, x[0], type, x[2], x[3], 0, 0, 0, 0);
}

/* SoftHSM reads SOFTHSM2_CONF when it is initialised. */
static ulong initialize(ulong arguments)
{
    const char *configuration = setting("PROXY_CONF"), *before = getenv("SOFTHSM2_CONF");
    char *kept = before ? strdup(before) : NULL;
    if (configuration)
        setenv("SOFTHSM2_CONF", configuration, 1);
    ulong rv = forward(Initialize, arguments, 0, 0, 0, 0, 0, 0, 0);
    if (configuration && kept)
        setenv("SOFTHSM2_CONF", kept, 1);
    free(kept);
    return rv;
}

/* Any function: those that take fewer arguments pass over the rest. */
static ulong answer(int place, const ulong *x)
{
    char line[64];
    ulong rv = 0, room = place == GetSlotList ? *(ulong *)x[2] : 0;
    append("PROXY_CALLS", line, snprintf(line, sizeof line, "%s\n", names[place]));
    lock();
    read_rules();
    decision before = decide(place, 0, x, &rv);
    unlock();
    wait_for(&before);
    if (before.decided) {
        note_pins(place, x, rv, 0);
        return rv;
    }
    lock();
    int absent = is_absent(place, x, &rv);
    if (!absent && begin_use(place, x[0])) {
        rv = 0xb3; /* CKR_SESSION_HANDLE_INVALID */
        absent = 1;
    }
    ulong first = takes_slot(place) ? real_slot(x[0]) : x[0];
    unlock();
    if (!absent)
        rv = place == Sign ? sign(x) : place == Login ? login(x) : place == Initialize ? initialize(x[0])
                                     : forward(place, first, x[1], x[2], x[3], x[4], x[5], x[6], x[7]);
    lock();
    if (place == GetSlotList)
        list_slots(x, &rv, room);
    if (!rv)
        follow_sessions(place, x);
    if (!absent)
        end_use(place, x[0]);
    decision after = decide(place, 1, x, &rv);
    unlock();
    note_pins(place, x, rv, !absent);
    if (place == Login)
        take_time("PROXY_LOGIN_TAKES");
    wait_for(&after);
    return rv;
}

#define CALL(name)                                                                                         \
    static ulong call_##name(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h)       \
    {                                                                                                      \
        return answer(name, (ulong[]){a, b, c, d, e, f, g, h});                                            \
    }
EACH_FUNCTION(CALL)

#define ENTRY(name) call_##name,
static const function calls[FUNCTIONS] = { EACH_FUNCTION(ENTRY) };

/* How many threads were in C_Sign together, at the most. */
int most_signing_at_once(void)
{
    return most_signing;
}

ulong C_GetFunctionList(function_list **list)
{
    if (!real) {
        const char *path = setting("PROXY_MODULE");
        void *library = dlopen(path ? path : REAL_MODULE, RTLD_NOW | RTLD_LOCAL);
        ulong (*get)(function_list **) = library ? (ulong (*)(function_list **))dlsym(library, "C_GetFunctionList") : 0;
        if (!get || get(&real))
            return 5; /* CKR_GENERAL_ERROR */
        forwarded = *real;
        for (int place = 0; place < FUNCTIONS; place++)
            if (place != GetFunctionList && real->call[place])
                forwarded.call[place] = (void *)calls[place];
    }
    *list = &forwarded;
    return 0;
}
