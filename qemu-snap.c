/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The command line: options become one struct, and what comes back becomes
 * messages and an exit status. The only file that prints errors and exits.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "printable.h"
#include "size.h"
#include "snap-error.h"
#include "snap-options.h"

#define PROGRAM "qemu-snap"
#define VERSION "0.1"

static const char usage_text[] =
    "Usage: qemu-snap save [-n NAME] [-s SIZE] [OPTIONS] IMAGE < STREAM\n"
    "       qemu-snap load [-n NAME] [OPTIONS] IMAGE > STREAM\n"
    "       qemu-snap list [OPTIONS] IMAGE\n"
    "       qemu-snap inspect [-n NAME] [OPTIONS] IMAGE\n"
    "\n"
    "Store a running VM's state as an internal snapshot of a qcow2 image, and "
    "restore it.\n"
    "\n"
    "  -n, --name=NAME      the snapshot's name (load, inspect: name or ID)\n"
    "  -s, --size=SIZE      save: make IMAGE with this virtual size if it is\n"
    "                       missing (512, 64K, 1.5M, 16G, ...)\n"
    "      --create         save: make IMAGE with virtual size 0 if missing\n"
    "      --raw            any bytes will do, not only a complete stream\n"
    "      --cache=MODE     none, writeback, directsync or unsafe (default: "
    "none\n"
    "                       where the file system can do it)\n"
    "      --aio=ENGINE     native, threads or io_uring (default: what suits\n"
    "                       the cache mode)\n"
    "      --depth=N        requests in flight, 1 to 32 (default: as many as "
    "the\n"
    "                       device has use for)\n"
    "  -U, --force-share    load, list, inspect: do not lock IMAGE\n"
    "  -p, --progress       show progress on standard error (SIGUSR1: once)\n"
    "  -q, --quiet          no warnings\n"
    "  -T, --trace=[[enable=]PATTERN][,file=FILE]\n"
    "                       show which ways are taken, on standard error or "
    "in FILE\n"
    "      --output=FORMAT  list, inspect: human (default) or json\n"
    "  -h, --help           show this help\n"
    "  -V, --version        show the version\n"
    "\n"
    "(qemu) migrate \"exec:qemu-snap save -n before-upgrade --create "
    "states.qcow2\"\n"
    "$ qemu-system-x86_64 ... -incoming "
    "\"exec:qemu-snap load -n before-upgrade states.qcow2\"\n"
    "\n"
    "See qemu-snap(1) for more.\n";

/* Long options without a letter. */
enum {
    OPTION_CREATE = 256,
    OPTION_RAW,
    OPTION_CACHE,
    OPTION_AIO,
    OPTION_DEPTH,
    OPTION_OUTPUT,
};

static const struct option long_options[] = {
    { "name", required_argument, NULL, 'n' },
    { "size", required_argument, NULL, 's' },
    { "create", no_argument, NULL, OPTION_CREATE },
    { "raw", no_argument, NULL, OPTION_RAW },
    { "cache", required_argument, NULL, OPTION_CACHE },
    { "aio", required_argument, NULL, OPTION_AIO },
    { "depth", required_argument, NULL, OPTION_DEPTH },
    { "force-share", no_argument, NULL, 'U' },
    { "progress", no_argument, NULL, 'p' },
    { "quiet", no_argument, NULL, 'q' },
    { "trace", required_argument, NULL, 'T' },
    { "output", required_argument, NULL, OPTION_OUTPUT },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
};

/* Which commands take an option, by its letter or number. */
static const struct {
    int option;
    const char *commands;
} option_commands[] = {
    { 'n', "save load inspect" },
    { 's', "save" },
    { OPTION_CREATE, "save" },
    { OPTION_RAW, "save load" },
    { OPTION_DEPTH, "save load inspect" },
    { 'U', "load list inspect" },
    { OPTION_OUTPUT, "list inspect" },
};

static const char *const commands[] = { "save", "load", "list", "inspect" };

static bool invalid(GError **errp, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool invalid(GError **errp, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *errp = g_error_new_valist(SNAP_ERROR, SNAP_ERROR_INVALID, format, args);
    va_end(args);
    return false;
}

static bool parse_size(const char *text, SnapOptions *options, GError **errp)
{
    if (!size_parse(text, &options->size)) {
        return invalid(errp,
                       "invalid size '%s': a number is expected, perhaps with "
                       "one of the letters B, K, M, G, T, P, E",
                       text);
    }
    options->create = true;
    return true;
}

static bool parse_depth(const char *text, SnapOptions *options, GError **errp)
{
    guint64 depth;

    if (!g_ascii_string_to_unsigned(text, 10, SNAP_MIN_DEPTH, SNAP_MAX_DEPTH,
                                    &depth, NULL)) {
        return invalid(errp, "invalid depth '%s': %u to %u is expected", text,
                       SNAP_MIN_DEPTH, SNAP_MAX_DEPTH);
    }
    options->depth = depth;
    return true;
}

static bool parse_cache(const char *text, SnapOptions *options, GError **errp)
{
    static const struct {
        const char *name;
        HostFileCache cache;
    } modes[] = {
        { "none", HOST_FILE_CACHE_NONE },
        { "writeback", HOST_FILE_CACHE_WRITEBACK },
        { "directsync", HOST_FILE_CACHE_DIRECTSYNC },
        { "unsafe", HOST_FILE_CACHE_UNSAFE },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(text, modes[i].name)) {
            options->cache = modes[i].cache;
            return true;
        }
    }
    return invalid(errp,
                   "invalid cache mode '%s': none, writeback, directsync or "
                   "unsafe is expected",
                   text);
}

static bool parse_aio(const char *text, SnapOptions *options, GError **errp)
{
    if (!strcmp(text, "native")) {
        options->aio = HOST_FILE_AIO_NATIVE;
    } else if (!strcmp(text, "threads")) {
        options->aio = HOST_FILE_AIO_THREADS;
    } else if (!strcmp(text, "io_uring")) {
        options->aio = HOST_FILE_AIO_IO_URING;
    } else {
        return invalid(errp,
                       "invalid AIO engine '%s': native, threads or io_uring "
                       "is expected",
                       text);
    }
    return true;
}

static bool parse_output(const char *text, SnapOptions *options, GError **errp)
{
    options->json = !strcmp(text, "json");
    if (!options->json && strcmp(text, "human")) {
        return invalid(errp,
                       "invalid output format '%s': human or json is expected",
                       text);
    }
    return true;
}

/* The last one counts, as with all options. */
static bool parse_trace(const char *spec, SnapOptions *options, GError **errp)
{
    g_clear_pointer(&options->trace, trace_free);
    options->trace = trace_new(spec, errp);
    return options->trace != NULL;
}

static bool parse_option(int option, const char *argument, SnapOptions *options,
                         GError **errp)
{
    switch (option) {
    case 'n':
        options->name = argument;
        return true;
    case 's':
        return parse_size(argument, options, errp);
    case OPTION_CREATE:
        options->create = true;
        return true;
    case OPTION_RAW:
        options->raw = true;
        return true;
    case OPTION_CACHE:
        return parse_cache(argument, options, errp);
    case OPTION_AIO:
        return parse_aio(argument, options, errp);
    case OPTION_DEPTH:
        return parse_depth(argument, options, errp);
    case 'U':
        options->force_share = true;
        return true;
    case 'p':
        options->progress = true;
        return true;
    case 'q':
        options->quiet = true;
        return true;
    case 'T':
        return parse_trace(argument, options, errp);
    case OPTION_OUTPUT:
        return parse_output(argument, options, errp);
    default:
        g_assert_not_reached();
    }
}

static const char *option_name(int option)
{
    const struct option *known = long_options;

    while (known->val != option) {
        known++;
    }
    return known->name;
}

static bool is_word_of(const char *word, const char *words)
{
    g_auto(GStrv) list = g_strsplit(words, " ", -1);

    return g_strv_contains((const char *const *)list, word);
}

/* Options may stand before the command, so this is checked afterwards. */
static bool check_options_used(const GArray *used, const char *command,
                               GError **errp)
{
    unsigned i;
    guint j;

    for (j = 0; j < used->len; j++) {
        int option = g_array_index(used, int, j);

        for (i = 0; i < G_N_ELEMENTS(option_commands); i++) {
            if (option_commands[i].option == option &&
                !is_word_of(command, option_commands[i].commands)) {
                return invalid(errp, "%s does not take --%s", command,
                               option_name(option));
            }
        }
    }
    return true;
}

static bool parse_operands(char **operands, int count, SnapOptions *options,
                           GError **errp)
{
    unsigned i;

    if (count == 0) {
        return invalid(errp, "a command is expected: save, load, list or "
                             "inspect");
    }
    for (i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(operands[0], commands[i])) {
            options->command = commands[i];
        }
    }
    if (!options->command) {
        return invalid(errp,
                       "unknown command '%s': save, load, list or inspect is "
                       "expected",
                       operands[0]);
    }
    if (count == 1) {
        return invalid(errp, "%s: an image is expected", options->command);
    }
    if (count > 2) {
        return invalid(errp, "%s: one image is expected, not also '%s'",
                       options->command, operands[2]);
    }
    options->image = operands[1];
    return true;
}

/*
 * What getopt_long() did not like: a letter, which may stand among others, or
 * a long option, which it may know but not with an argument.
 */
static bool refuse_option(char **argv, GError **errp)
{
    const char *word = argv[optind - 1];

    if (optopt == 0) {
        return invalid(errp, "unknown option '%s'", word);
    }
    if (strncmp(word, "--", 2) == 0) {
        return invalid(errp, "option '--%s' takes no argument",
                       option_name(optopt));
    }
    return invalid(errp, "unknown option '-%c'", optopt);
}

/* *@only_text is set when --help or --version has been served. */
static bool parse_command_line(int argc, char **argv, SnapOptions *options,
                               bool *only_text, GError **errp)
{
    g_autoptr(GArray) used = g_array_new(FALSE, FALSE, sizeof(int));
    int option;

    /* One line is enough of a message, and ours has the program's name. */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":n:s:UpqT:hV", long_options,
                                 NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(usage_text, stdout);
            *only_text = true;
            return true;
        case 'V':
            puts(PROGRAM " " VERSION);
            *only_text = true;
            return true;
        case ':':
            return invalid(errp, "option '%s' needs an argument",
                           argv[optind - 1]);
        case '?':
            return refuse_option(argv, errp);
        default:
            if (!parse_option(option, optarg, options, errp)) {
                return false;
            }
            g_array_append_val(used, option);
        }
    }
    return parse_operands(argv + optind, argc - optind, options, errp) &&
           check_options_used(used, options->command, errp);
}

/*
 * An incoming QEMU whose command ends without a word waits for ever; one wrong
 * byte makes it give up. So a load says something whatever happened.
 */
static void break_silence(int argc, char **argv, const SnapOptions *options,
                          const SnapResult *result)
{
    bool load = options->command && !strcmp(options->command, "load");
    int i;

    /* The command line may have been too wrong to know the command. */
    for (i = 1; i < argc && !options->command; i++) {
        load |= !strcmp(argv[i], "load");
    }
    if (load && !result->output_begun && !isatty(STDOUT_FILENO) &&
        write(STDOUT_FILENO, "", 1) < 0) {
        return;
    }
}

/* Die of the signal that stopped us, so that the caller sees the cause. */
static void die_of(int signal_number)
{
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* One line, whatever is in the names that it repeats. */
static void print_line(const char *text)
{
    g_autofree char *safe = printable(text);

    fprintf(stderr, PROGRAM ": %s\n", safe);
}

static void print_warnings(const SnapOptions *options, const SnapResult *result)
{
    guint i;

    for (i = 0; i < result->warnings->len && !options->quiet; i++) {
        g_autofree char *line = g_strdup_printf(
            "%s: warning: %s", options->image,
            (const char *)g_ptr_array_index(result->warnings, i));

        print_line(line);
    }
}

/*
 * Whoever started us may have closed a standard descriptor. The image must not
 * become it: something is going to be read from it or printed to it.
 */
static void fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    SnapOptions options = {
        .cache = HOST_FILE_CACHE_AUTOMATIC,
        .aio = HOST_FILE_AIO_AUTOMATIC,
    };
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    SnapResult result = { .warnings = warnings };
    g_autoptr(GError) error = NULL;
    bool only_text = false;
    bool done;

    fill_standard_descriptors();
    /* A reader that closes its pipe is an event, not a reason to die. */
    signal(SIGPIPE, SIG_IGN);
    /* And a limit on file sizes is an error of the write that meets it. */
    signal(SIGXFSZ, SIG_IGN);
    done = parse_command_line(argc, argv, &options, &only_text, &error) &&
           (only_text || snap_handle(&options, &result, &error));
    g_clear_pointer(&options.trace, trace_free);
    print_warnings(&options, &result);
    if (done && (fflush(stdout) != 0 || ferror(stdout))) {
        g_set_error(&error, SNAP_ERROR, SNAP_ERROR_IO,
                    "cannot write to standard output: %s", g_strerror(errno));
        done = false;
    }
    if (done) {
        return EXIT_SUCCESS;
    }
    break_silence(argc, argv, &options, &result);
    if (result.signal) {
        die_of(result.signal);
    }
    print_line(error->message);
    return EXIT_FAILURE;
}
