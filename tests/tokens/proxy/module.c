/* A PKCS#11 module that forwards every call to another one: it notes PINs and calls, takes its time, and answers wrongly.
 *
 * Environment:
 *   PROXY_MODULE       the other module, instead of the one it was built for
 *   PROXY_PINS         a file; each PIN becomes a line "C_Login 1234" once the other module has answered
 *   PROXY_CALLS        a file; each call becomes a line with its name
 *   PROXY_LOGIN_TAKES  seconds by which C_Login takes longer, after that line; a signal ends them early
 *   PROXY_SIGN_TAKES   seconds by which C_Sign takes longer
 *   PROXY_RULES        a file of rules, read anew before each call; see rules.h
 *
 * Build with -DREAL_MODULE="\"/path/of/the/other/module.so\"". The numbers are the places in CK_FUNCTION_LIST of
 * PKCS#11 v2.40, 6.2. This file is for tests only: no module that serves people may write a PIN down.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef struct { unsigned char version[2]; void *call[68]; } function_list;
typedef ulong (*function)(ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong);

enum {
    INITIALIZE = 0, FINALIZE = 1, GET_INFO = 2, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_SLOT_INFO = 5,
    GET_TOKEN_INFO = 6, GET_MECHANISM_LIST = 7, GET_MECHANISM_INFO = 8, INIT_TOKEN = 9, SET_PIN = 11, OPEN_SESSION = 12,
    CLOSE_SESSION = 13, CLOSE_ALL_SESSIONS = 14, LOGIN = 18, GET_ATTRIBUTE_VALUE = 24, FIND_OBJECTS_INIT = 26, SIGN = 43, FUNCTIONS = 68
};

static const char *const names[FUNCTIONS] = {
    "C_Initialize", "C_Finalize", "C_GetInfo", "C_GetFunctionList", "C_GetSlotList", "C_GetSlotInfo",
    "C_GetTokenInfo", "C_GetMechanismList", "C_GetMechanismInfo", "C_InitToken", "C_InitPIN", "C_SetPIN",
    "C_OpenSession", "C_CloseSession", "C_CloseAllSessions", "C_GetSessionInfo", "C_GetOperationState",
    "C_SetOperationState", "C_Login", "C_Logout", "C_CreateObject", "C_CopyObject", "C_DestroyObject",
    "C_GetObjectSize", "C_GetAttributeValue", "C_SetAttributeValue", "C_FindObjectsInit", "C_FindObjects",
    "C_FindObjectsFinal", "C_EncryptInit", "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal", "C_DecryptInit",
    "C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal", "C_DigestInit", "C_Digest", "C_DigestUpdate", "C_DigestKey",
    "C_DigestFinal", "C_SignInit", "C_Sign", "C_SignUpdate", "C_SignFinal", "C_SignRecoverInit", "C_SignRecover",
    "C_VerifyInit", "C_Verify", "C_VerifyUpdate", "C_VerifyFinal", "C_VerifyRecoverInit", "C_VerifyRecover",
    "C_DigestEncryptUpdate", "C_DecryptDigestUpdate", "C_SignEncryptUpdate", "C_DecryptVerifyUpdate",
    "C_GenerateKey", "C_GenerateKeyPair", "C_WrapKey", "C_UnwrapKey", "C_DeriveKey", "C_SeedRandom",
    "C_GenerateRandom", "C_GetFunctionStatus", "C_CancelFunction", "C_WaitForSlotEvent"
};

static function_list *real, forwarded;
static int signing, most_signing;

static void nap(double seconds)
{
    struct timespec span = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    nanosleep(&span, NULL);
}

static void take_time(const char *variable)
{
    const char *text = getenv(variable);
    nap(text ? atof(text) : 0);
}

static void append(const char *variable, const char *line, int size)
{
    const char *path = getenv(variable);
    if (!path)
        return;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, (size_t)size) != size)
        abort();
    close(file);
}

static void note_pin(const char *call, const char *pin, ulong length)
{
    char line[128];
    append("PROXY_PINS", line,
           snprintf(line, sizeof line, "%s %.*s\n", call, (int)(length < 64 ? length : 64), pin ? pin : ""));
}

static ulong forward(int place, ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h)
{
    return ((function)real->call[place])(a, b, c, d, e, f, g, h);
}

#include "rules.h"

static ulong sign(ulong session, ulong data, ulong length, ulong signature, ulong signature_length)
{
    int now = __atomic_add_fetch(&signing, 1, __ATOMIC_SEQ_CST), most = most_signing;
    while (now > most && !__atomic_compare_exchange_n(&most_signing, &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    take_time("PROXY_SIGN_TAKES");
    ulong rv = forward(SIGN, session, data, length, signature, signature_length, 0, 0, 0);
    __atomic_sub_fetch(&signing, 1, __ATOMIC_SEQ_CST);
    return rv;
}

/* Any function: those that take fewer arguments pass over the rest. */
static ulong answer(int place, const ulong *x)
{
    char line[64];
    ulong rv = 0;
    append("PROXY_CALLS", line, snprintf(line, sizeof line, "%s\n", names[place]));
    if (refused(place, 0, x, &rv))
        return rv;
    rv = place == SIGN ? sign(x[0], x[1], x[2], x[3], x[4]) : forward(place, x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]);
    if (place == LOGIN) {
        note_pin("C_Login", (const char *)x[2], x[3]);
        take_time("PROXY_LOGIN_TAKES");
    } else if (place == SET_PIN) {
        note_pin("C_SetPIN", (const char *)x[1], x[2]);
    } else if (place == INIT_TOKEN) {
        note_pin("C_InitToken", (const char *)x[1], x[2]);
    }
    refused(place, 1, x, &rv);
    if (!rv)
        follow_sessions(place, x);
    return rv;
}

#define CALL(n)                                                                                             \
    static ulong call_##n(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h)           \
    {                                                                                                       \
        return answer(n, (ulong[]){a, b, c, d, e, f, g, h});                                                \
    }
#define TEN(t) CALL(t##0) CALL(t##1) CALL(t##2) CALL(t##3) CALL(t##4) CALL(t##5) CALL(t##6) CALL(t##7) CALL(t##8) CALL(t##9)
CALL(0) CALL(1) CALL(2) CALL(3) CALL(4) CALL(5) CALL(6) CALL(7) CALL(8) CALL(9)
TEN(1) TEN(2) TEN(3) TEN(4) TEN(5)
CALL(60) CALL(61) CALL(62) CALL(63) CALL(64) CALL(65) CALL(66) CALL(67)

#define TEN_OF(t) call_##t##0, call_##t##1, call_##t##2, call_##t##3, call_##t##4, call_##t##5, call_##t##6, \
    call_##t##7, call_##t##8, call_##t##9
static const function calls[FUNCTIONS] = {
    call_0, call_1, call_2, call_3, call_4, call_5, call_6, call_7, call_8, call_9,
    TEN_OF(1), TEN_OF(2), TEN_OF(3), TEN_OF(4), TEN_OF(5),
    call_60, call_61, call_62, call_63, call_64, call_65, call_66, call_67
};

/* How many threads were in C_Sign together, at the most. */
int most_signing_at_once(void)
{
    return most_signing;
}

ulong C_GetFunctionList(function_list **list)
{
    if (!real) {
        const char *path = getenv("PROXY_MODULE");
        void *library = dlopen(path ? path : REAL_MODULE, RTLD_NOW | RTLD_LOCAL);
        ulong (*get)(function_list **) = library ? (ulong (*)(function_list **))dlsym(library, "C_GetFunctionList") : 0;
        if (!get || get(&real))
            return 5; /* CKR_GENERAL_ERROR */
        forwarded = *real;
        for (int place = 0; place < FUNCTIONS; place++)
            if (place != GET_FUNCTION_LIST && real->call[place])
                forwarded.call[place] = (void *)calls[place];
    }
    *list = &forwarded;
    return 0;
}
