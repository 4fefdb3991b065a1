/* The application of the matrix for libfcgi. */

#include <fcgiapp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *param(FCGX_Request *request, const char *name) {
    const char *value = FCGX_GetParam(name, request->envp);
    return value ? value : "";
}

/* Returns the value of a key of the query string, or NULL. */
static const char *key(const char *query, const char *name, char *value, size_t size) {
    const char *found = strstr(query, name);
    size_t len = strlen(name);
    if (!found || found[len] != '=') return NULL;
    found += len + 1;
    snprintf(value, size, "%.*s", (int)strcspn(found, "&"), found);
    return value;
}

static void send_lines(FCGX_Request *request, int interval, const char *query) {
    char value[100];
    int width = key(query, "width", value, sizeof value) ? atoi(value) : 8;
    long count = key(query, "count", value, sizeof value) ? atol(value) : -1;

    for (; count != 0; count--) {
        for (int i = 1; i < width; i++) FCGX_PutChar('x', request->out);
        FCGX_PutChar('\n', request->out);
        if (FCGX_FFlush(request->out) != 0) return;
        usleep(interval * 1000);
    }
}

static void answer(FCGX_Request *request) {
    const char *query = param(request, "QUERY_STRING");
    const char *names[] = {"HTTP_COOKIE", "QUERY_STRING", "REQUEST_METHOD"};
    char value[200], piece[8192], status[200] = "200";
    int len;

    if (key(query, "stderr", value, sizeof value)) FCGX_FPrintF(request->err, "%s\n", value);
    if (key(query, "status", status, sizeof status)) {
        FCGX_FPrintF(request->out, "Status: %s\r\n", status);
    }
    if (key(query, "location", value, sizeof value)) {
        FCGX_FPrintF(request->out, "Location: %s\r\n", value);
    }
    if (key(query, "cookies", value, sizeof value)) {
        FCGX_PutS("Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n", request->out);
    }
    FCGX_PutS("Content-Type: text/plain\r\n\r\n", request->out);
    if (key(query, "lines", value, sizeof value)) {
        send_lines(request, atoi(value), query);
        return;
    }
    if (!strcmp(status, "204") || !strcmp(status, "304")) return;
    for (int i = 0; i < 3; i++) {
        FCGX_FPrintF(request->out, "%s=%s\n", names[i], param(request, names[i]));
    }
    FCGX_PutS("\n", request->out);
    while ((len = FCGX_GetStr(piece, sizeof piece, request->in)) > 0) {
        FCGX_PutStr(piece, len, request->out);
    }
}

int main(void) {
    FCGX_Request request;

    if (FCGX_Init() != 0 || FCGX_InitRequest(&request, 0, 0) != 0) return 1;
    while (FCGX_Accept_r(&request) == 0) {
        answer(&request);
        FCGX_Finish_r(&request);
    }
    return 0;
}
