/* What a process tells the proxy by its environment, and what the proxy notes in files.
 *
 * A copy of the module under another file name is another module to a process. Of each variable it reads the one with
 * its own name first: PROXY_RULES_second before PROXY_RULES, if its file is second.so.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *setting(const char *variable)
{
    static char own_name[64];
    char name[128];
    if (!own_name[0]) {
        Dl_info self;
        const char *file = dladdr((void *)setting, &self) ? strrchr(self.dli_fname, '/') : NULL;
        snprintf(own_name, sizeof own_name, "_%.*s", file ? (int)strcspn(file + 1, ".") : 0, file ? file + 1 : "");
    }
    snprintf(name, sizeof name, "%s%s", variable, own_name);
    const char *value = getenv(name);
    return value ? value : getenv(variable);
}

static void nap(double seconds)
{
    struct timespec span = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    nanosleep(&span, NULL);
}

static void take_time(const char *variable)
{
    const char *text = setting(variable);
    nap(text ? atof(text) : 0);
}

static void append(const char *variable, const char *line, int size)
{
    const char *path = setting(variable);
    if (!path)
        return;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, (size_t)size) != size)
        abort();
    close(file);
}

static void note_pin(const char *call, const char *pin, ulong length, ulong rv, const char *reached)
{
    char line[160];
    append("PROXY_PINS", line,
           snprintf(line, sizeof line, "%s %.*s 0x%lx %s\n", call, (int)(length < 64 ? length : 64), pin ? pin : "", rv,
                    reached));
}

/* The PIN of a call that presents one, with the answer that the caller gets. */
static void note_pins(int place, const ulong *x, ulong rv, int forwarded)
{
    const char *reached = forwarded ? "forwarded" : "kept";
    if (place == Login)
        note_pin("C_Login", (const char *)x[2], x[3], rv, reached);
    else if (place == SetPIN || place == InitToken)
        note_pin(names[place], (const char *)x[1], x[2], rv, reached);
}
