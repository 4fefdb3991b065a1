/* An application that uses libfcgi: `libfcgi [ADDRESS]`. Without an address, it serves the
 * listening socket on descriptor 0. It writes the method and the query string, and copies the body
 * while it arrives. */

#include <fcgiapp.h>
#include <string.h>

static void answer(FCGX_Request *request) {
    const char *method = FCGX_GetParam("REQUEST_METHOD", request->envp);
    const char *query = FCGX_GetParam("QUERY_STRING", request->envp);
    char piece[8192];
    int len;

    if (!method) method = "";
    if (!query) query = "";
    if (strstr(query, "stderr")) FCGX_PutS("a log message\n", request->err);
    if (strstr(query, "exit")) FCGX_SetExitStatus(3, request->out);
    FCGX_FPrintF(request->out, "Content-Type: text/plain\r\n\r\n%s %s\n", method, query);
    if (strstr(query, "noread")) return;
    while ((len = FCGX_GetStr(piece, sizeof piece, request->in)) > 0) {
        FCGX_PutStr(piece, len, request->out);
    }
}

int main(int argc, char **argv) {
    FCGX_Request request;
    int listener = 0;

    if (FCGX_Init() != 0) return 1;
    if (argc > 1) listener = FCGX_OpenSocket(argv[1], 128);
    if (listener < 0 || FCGX_InitRequest(&request, listener, 0) != 0) return 1;
    while (FCGX_Accept_r(&request) == 0) {
        answer(&request);
        FCGX_Finish_r(&request);
    }
    return 0;
}
