/* A PKCS#11 module that forwards every call to another one, notes each PIN that it is given, and can take its time.
 *
 * Environment:
 *   PROXY_PINS         a file; each PIN becomes a line "C_Login 1234" once the other module has answered
 *   PROXY_LOGIN_TAKES  seconds by which C_Login takes longer, after that line; a signal ends them early
 *   PROXY_SIGN_TAKES   seconds by which C_Sign takes longer
 *
 * Build with -DREAL_MODULE="\"/path/of/the/other/module.so\"". The numbers are the places in CK_FUNCTION_LIST of
 * PKCS#11 v2.40, 6.2. This file is for tests only: no module that serves people may write a PIN down.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef struct { unsigned char version[2]; void *call[68]; } function_list;

enum { SET_PIN = 11, LOGIN = 18, SIGN = 43 };

static function_list *real, forwarded;
static int signing, most_signing;

static void take_time(const char *variable)
{
    const char *text = getenv(variable);
    double seconds = text ? atof(text) : 0;
    struct timespec span = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    nanosleep(&span, NULL);
}

static void note(const char *call, const char *pin, ulong length)
{
    const char *path = getenv("PROXY_PINS");
    if (!path)
        return;
    char line[128];
    int size = snprintf(line, sizeof line, "%s %.*s\n", call, (int)(length < 64 ? length : 64), pin ? pin : "");
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, (size_t)size) != size)
        abort();
    close(file);
}

static ulong login(ulong session, ulong user, char *pin, ulong length)
{
    ulong rv = ((ulong (*)(ulong, ulong, char *, ulong))real->call[LOGIN])(session, user, pin, length);
    note("C_Login", pin, length);
    take_time("PROXY_LOGIN_TAKES");
    return rv;
}

static ulong set_pin(ulong session, char *old, ulong old_length, char *new, ulong new_length)
{
    ulong rv = ((ulong (*)(ulong, char *, ulong, char *, ulong))real->call[SET_PIN])(session, old, old_length, new,
                                                                                     new_length);
    note("C_SetPIN", old, old_length);
    return rv;
}

static ulong sign(ulong session, void *data, ulong length, void *signature, void *signature_length)
{
    int now = __atomic_add_fetch(&signing, 1, __ATOMIC_SEQ_CST), most = most_signing;
    while (now > most && !__atomic_compare_exchange_n(&most_signing, &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    take_time("PROXY_SIGN_TAKES");
    ulong rv = ((ulong (*)(ulong, void *, ulong, void *, void *))real->call[SIGN])(session, data, length, signature,
                                                                                   signature_length);
    __atomic_sub_fetch(&signing, 1, __ATOMIC_SEQ_CST);
    return rv;
}

/* How many threads were in C_Sign together, at the most. */
int most_signing_at_once(void)
{
    return most_signing;
}

ulong C_GetFunctionList(function_list **list)
{
    if (!real) {
        void *library = dlopen(REAL_MODULE, RTLD_NOW | RTLD_LOCAL);
        ulong (*get)(function_list **) = library ? (ulong (*)(function_list **))dlsym(library, "C_GetFunctionList") : 0;
        if (!get || get(&real))
            return 5; /* CKR_GENERAL_ERROR */
        forwarded = *real;
        forwarded.call[SET_PIN] = (void *)set_pin;
        forwarded.call[LOGIN] = (void *)login;
        forwarded.call[SIGN] = (void *)sign;
    }
    *list = &forwarded;
    return 0;
}
